"""How any model gets here: descriptors are read, files downloaded, models converted. It knows no GPT-2."""

"""Tools around GPT-2 that run the demo's own engine; the models' way here is omz_model_tools' matter."""

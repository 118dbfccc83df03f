"""The scripts that run in the environments of other engines, with the standard library and that engine alone."""

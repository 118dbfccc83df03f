"""The model descriptors as package data (omz_models); it holds no code."""

"""Converted models with their weights compressed to 8 or 4 bits by NNCF."""

"""The demo's engine on one model, in this process: generation, scaling curves, layers, roofline, features."""

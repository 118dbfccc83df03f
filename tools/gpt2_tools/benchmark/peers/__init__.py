"""The demo's engine beside other engines, each in a process and a Python environment of its own."""

"""Tools that run the demo's engine: gpt2_benchmark, gpt2_evaluate with accuracy_check, and gpt2_export.

No other package imports them.
"""

"""gpt2_benchmark: its command line, the figures it measures and the forms in which it prints them."""

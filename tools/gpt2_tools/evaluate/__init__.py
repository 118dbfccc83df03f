"""gpt2_evaluate: perplexity, LAMBADA, comparison of models, lm-evaluation-harness, accuracy-check.yml."""

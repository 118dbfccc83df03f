"""gpt2_evaluate and accuracy_check: perplexity, LAMBADA, comparison of models, lm-eval, accuracy-check.yml."""

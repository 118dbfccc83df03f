"""gpt2_classify: labels for texts from flags, a file or a pipe."""

"""Readers of the files that hold weights: safetensors, PyTorch, shards of either, TensorFlow, OpenAI's checkpoints."""

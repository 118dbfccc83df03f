"""The sizes of GPT-2, as fields of config.json."""

SIZES = {
    "gpt-2-mini": {"n_layer": 5, "n_head": 4, "n_embd": 256, "n_positions": 512, "vocab_size": 8192},
    "distilgpt2": {"n_layer": 6, "n_head": 12, "n_embd": 768},
    "gpt-2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt-2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt-2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt-2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
"""The fields of config.json by size; the others are GPT2Config's defaults."""

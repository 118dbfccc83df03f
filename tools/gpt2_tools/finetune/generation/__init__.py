"""gpt2_finetune --task generation: a text in, a model that continues such texts out."""

from gpt2_tools.finetune.generation.task import Generation

__all__ = ["Generation"]

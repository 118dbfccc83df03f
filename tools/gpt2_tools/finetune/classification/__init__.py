"""gpt2_finetune --task classification: texts with labels in, a model that labels texts out."""

from gpt2_tools.finetune.classification.task import Classification

__all__ = ["Classification"]

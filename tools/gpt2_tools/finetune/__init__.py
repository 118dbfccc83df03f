"""gpt2_finetune: a text in, a better model out, as a checkpoint for transformers and as IRs; or texts with labels.

The training itself is transformers' Trainer; what it lacks is here: data of any size in flat memory, saves that a kill
cannot break, a resume that ends with the same bytes, and the way on to OpenVINO.
"""

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.run import finetune
from gpt2_tools.finetune.task import Finetuned

__all__ = ["Finetuned", "Problem", "finetune"]

"""gpt2_finetune: a text in, a better model out, as a checkpoint for transformers and as IRs; or texts with labels.

The training itself is transformers' Trainer; what it lacks is here: data of any size in flat memory, saves that a kill
cannot break, a resume that ends with the same bytes, and the way on to OpenVINO.

The names below are imported when they are first used, so that --help need not wait for OpenVINO.
"""

from importlib import import_module

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from gpt2_tools.common.problem import Problem
    from gpt2_tools.finetune.run import finetune
    from gpt2_tools.finetune.task import Finetuned

__all__ = ["Finetuned", "Problem", "finetune"]

_HOMES = {
    "Finetuned": "gpt2_tools.finetune.task",
    "Problem": "gpt2_tools.common.problem",
    "finetune": "gpt2_tools.finetune.run",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

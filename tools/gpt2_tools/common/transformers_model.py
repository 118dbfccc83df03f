"""transformers on PyTorch as it runs beside ours: in f32, on so many threads. What it computes is not known here."""

from typing import Any

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import installed


def require_transformers() -> None:
    """Raise Problem, with the `pip install`, where it is not installed."""
    missing = [name for name in ("torch", "transformers") if not installed(name)]
    if missing:
        raise Problem(f"--with-transformers: {' and '.join(missing)} missing: pip install 'omz-gpt2[evaluate]'")


def load_transformers(folder: str, threads: str) -> tuple[Any, Any]:
    """Return torch, and the model of a checkpoint."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(int(threads))
    model: Any = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    return torch, model

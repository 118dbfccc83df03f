"""The end of a run: a folder for transformers, and the IRs that omz_converter makes of it."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from omz_model_tools.common import PublishedFolder, Report, disk_problems
from omz_model_tools.convert import Checkpoint, CheckpointConverter, load_recipe, watch_on

MODEL = "model"
PRECISIONS = ("FP16", "FP32")
RECIPE = "gpt2"


def publish_model(run: Path, write: Callable[[Path], None], needed: int) -> Path:
    """Replace RUN/model by a folder that `write` fills; return it. needed: its bytes, about."""
    folder = PublishedFolder(run / MODEL)
    with disk_problems(folder.target):
        folder.recover()
        folder.check()
        with folder.replacing(needed) as new:
            write(new)
    return folder.target


def publish_irs(model: Path, name: str) -> Path:
    """Convert it to FP16/NAME.xml and FP32/NAME.xml beside it; return the FP16 one."""
    run = model.parent
    converter = CheckpointConverter(run, PRECISIONS, Report(sys.stderr, sys.stderr), watch=watch_on(sys.stderr))
    converter.convert(Checkpoint(model, name, RECIPE), load_recipe(RECIPE))
    return run / PRECISIONS[0] / f"{name}.xml"


def demo_command(ir: Path, prompt: str) -> str:
    """Return the command that runs the demo on an IR."""
    return shlex.join(["gpt2_text_prediction_demo", "-m", str(ir), *(["-i", prompt] if prompt else [])])

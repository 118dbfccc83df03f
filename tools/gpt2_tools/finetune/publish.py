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


def publish(run: Path, name: str, write: Callable[[Path], None], needed: int) -> Path:
    """Write RUN/model, and RUN/FP16/NAME.xml and RUN/FP32/NAME.xml of it; return the FP16 one.

    needed: the bytes of the folder, about.
    """
    folder = PublishedFolder(run / MODEL)
    with disk_problems(folder.target):
        folder.recover()
        folder.check()
        with folder.replacing(needed) as new:
            write(new)
    converter = CheckpointConverter(run, PRECISIONS, Report(sys.stderr, sys.stderr), watch=watch_on(sys.stderr))
    converter.convert(Checkpoint(folder.target, name, RECIPE), load_recipe(RECIPE))
    return run / PRECISIONS[0] / f"{name}.xml"


def demo_command(ir: Path, prompt: str) -> str:
    """Return the command that runs the demo on an IR."""
    return shlex.join(["gpt2_text_prediction_demo", "-m", str(ir), *(["-i", prompt] if prompt else [])])

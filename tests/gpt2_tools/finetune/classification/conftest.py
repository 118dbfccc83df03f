"""A toy and texts with labels to train on."""

from pathlib import Path
from typing import Any

import pytest

from gpt2_tools.finetune import Finetuned
from gpt2_tools.finetune.run import run
from gpt2_tools.finetune.settings import Settings
from support.finetune import TINY, write_labelled

SETTINGS = {name.removeprefix("--"): value for name, value in zip(TINY[::2], TINY[1::2], strict=True)}


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Return a folder with a checkpoint `toy` and `texts.csv`."""
    return write_labelled(tmp_path)


@pytest.fixture
def train(labelled):
    """Return what trains on them and returns the Finetuned."""

    def trained(**more: Any) -> Finetuned:
        given = {"dataset": labelled / "texts.csv", "model": str(labelled / "toy"), "checkpoint_dir": labelled / "runs"}
        settings = Settings(**given | SETTINGS | {"task": "classification", "steps": 6, "learning_rate": 1e-2} | more)
        return run(settings)

    return trained

"""finetune: every figure is there, with its unit, and belongs to the same turn as its ratio."""

import sys

import pytest

from gpt2_tools.benchmark.figures import Repeats
from gpt2_tools.benchmark.finetune import Workload, finetune_figures
from gpt2_tools.finetune.run import LIBRARIES
from support.toy import Toy

pytestmark = pytest.mark.extras(*LIBRARIES)


def test_every_figure_is_measured(tmp_path):
    toy = str(Toy(n_embd=16, n_positions=32).write(tmp_path / "toy"))
    work = Workload(model=toy, batch=2, block=16, steps=3, every=6, large="gpt-2-mini", large_steps=3, threads=1)
    request = {"hparams": {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_vocab": 300, "n_ctx": 32}}
    request |= {"threads": 1, "batch": 2, "block": 16, "steps": 3}
    simple = tmp_path / "simple.py"  # in place of gpt-2-simple, whose TensorFlow is another environment's
    simple.write_text(f"import json, sys\nassert json.loads(sys.argv[1]) == {request}\nprint('{{\"seconds\": [8]}}')")
    said = []
    figures = finetune_figures(work, Repeats(0, 1), said.append, [sys.executable, str(simple)])
    assert len(said) == 3
    assert {name: figure.unit for name, figure in figures.items()} == {
        "gpt2_finetune": "tokens / CPU s",
        "plain loop": "tokens / CPU s",
        "gpt-2-simple": "tokens / CPU s",
        "gpt2_finetune / gpt-2-simple": "times",
        "gpt2_finetune / plain loop": "times",
        "evaluation": "%",
        "saving": "%",
        "gpt-2-mini full": "tokens / CPU s",
        "gpt-2-mini LoRA": "tokens / CPU s",
        "gpt-2-mini LoRA / full": "times",
        "gpt-2-mini full, memory": "MB",
        "gpt-2-mini LoRA, memory": "MB",
    }
    value = {name: figure.median for name, figure in figures.items()}
    assert value["gpt-2-simple"] == 2 * 16 / 8
    assert value["gpt2_finetune / plain loop"] == value["gpt2_finetune"] / value["plain loop"]
    assert value["gpt-2-mini LoRA, memory"] < value["gpt-2-mini full, memory"]

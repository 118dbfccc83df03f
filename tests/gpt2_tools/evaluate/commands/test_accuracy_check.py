"""The figures in gpt-2-mini's README are those its commands print; INT8 stays within 0.5 %."""

import json
import shlex
import shutil
from pathlib import Path

import openvino as ov
import pytest

from gpt2_tools.evaluate.cli import main
from omz_model_tools.cli.quantizer import quantizer
from support import ROOT

HEADING = "**What quantization costs**"
TOLERANCES = ((0, 0.1), (5e-4, 0), (0, 0.05), (0.1, 1e-7), (0.2, 1e-6), (0.5, 1e-6), (0, 0.3))
"""Relative and absolute, of each column: another CPU rounds otherwise."""
DIVERGENCES, AGREEMENT = slice(3, 6), slice(6, 7)
"""Columns. Without AVX-512 OpenVINO quantizes less on the way, and AMX adds up bf16 more exactly than AVX-512: a model
may then be nearer to the reference."""
pytestmark = pytest.mark.extras("nncf")


def section() -> str:
    page = (ROOT / "models/public/gpt-2-mini/README.md").read_text(encoding="utf-8")
    return page.partition(HEADING)[2].partition("\n## ")[0]


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in section().split("```")[1].strip().splitlines()]


def cells_by_model(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.split()[0]) for cell in cells if cell not in ("", "reference")]


def has_avx512() -> bool:
    """Tell whether this CPU has the instructions of the one that the README's figures are of."""
    cpus = Path("/proc/cpuinfo")
    return "avx512" in cpus.read_text() if cpus.exists() else False


@pytest.fixture
def printed(mini, monkeypatch, capsys, tmp_path) -> str:
    """Run the README's commands, but for bf16 where the CPU has none and would emulate it for twenty minutes."""
    shutil.copytree(mini, tmp_path / "public/gpt-2-mini")
    monkeypatch.chdir(tmp_path)
    *_, quantize, compare = commands()
    assert quantize[0] == "omz_quantizer"
    assert quantizer(quantize[1:]) == 0
    native = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    arguments = [argument for argument in compare[1:] if native or "@bf16" not in argument]
    arguments[-1] = str(ROOT / arguments[-1])
    capsys.readouterr()
    assert (compare[0], main(arguments)) == ("gpt2_evaluate", 0)
    return capsys.readouterr().out


def test_the_table_is_what_the_commands_print(printed):
    found, shown = cells_by_model(printed), cells_by_model(section())
    assert len(shown) == 5
    assert len(found) >= 4
    for model, cells in found.items():
        ours, theirs = numbers(cells), numbers(shown[model])
        assert len(ours) == len(theirs)
        if not has_avx512() or model.endswith("@bf16"):
            theirs[DIVERGENCES] = map(min, ours[DIVERGENCES], theirs[DIVERGENCES])
            theirs[AGREEMENT] = map(max, ours[AGREEMENT], theirs[AGREEMENT])
        for number, expected, (rel, nought) in zip(ours, theirs, TOLERANCES[: len(ours)], strict=True):
            assert number == pytest.approx(expected, rel=rel, abs=nought), model
    said = json.loads(printed.splitlines()[-1])
    (int8,) = [one for one in said["candidates"] if "INT8" in one["model"]]
    assert abs(int8["perplexity_ratio"] - 1) < 0.005

"""A user's script is checked by mypy and by pyright, in the environment of an editable install of this checkout."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extras("mypy", "basedpyright")

SCRIPT = """\
from gpt2_text_prediction import TextGenerator

with TextGenerator("gpt-2") as gpt2:
    for result in gpt2.generate(["The poem was", "Once"], max_new_tokens=40, top_k=20, stop="\\n"):
        reveal_type(result.finish_reason)
    stream = gpt2.stream("The poem was", seed=7)
    for piece in stream:
        reveal_type(piece)
    reveal_type(stream.result.tokens)
    _ = gpt2.generate("a", top_k="many")  # line 10
    _ = gpt2.generate("a", topk=3)  # line 11
"""
TYPES = ["Literal['stop', 'length', 'time', 'cancelled']", "str", "list[int]"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return a script in a folder of its own, with no settings of any type checker."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def run(*command: object, cwd: Path) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False).stdout


def test_mypy_sees_the_types(script):
    said = run(
        sys.executable, "-m", "mypy", "--no-color-output", "--cache-dir", "cache", script.name, cwd=script.parent
    )
    types = re.findall(r'Revealed type is "(.*)"', said)
    assert [name.replace("'] | Literal['", "', '").replace("builtins.", "") for name in types] == TYPES
    assert re.findall(r"script\.py:(\d+): error", said) == ["10", "11"], said


def test_pyright_sees_the_types(script):
    said = run(sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, script.name, cwd=script.parent)
    assert re.findall(r'Type of ".*" is "(.*)"', said) == TYPES
    assert re.findall(r"script\.py:(\d+):\d+ - error", said) == ["10", "11"], said

"""What docs/make writes of the code and the commands is what stands in docs."""

import re
import shutil
from html import unescape
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from support import ROOT

MAKE = ROOT / "docs/make"


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"docs_make_{name}", MAKE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_docstrings():
    assert load("reference").page() == (ROOT / "docs/reference.md").read_text(encoding="utf-8"), (
        "run: python docs/make/reference.py"
    )


@pytest.mark.parametrize("package", ["gpt2_text_prediction", "gpt2_tools.finetune"])
def test_the_reference_has_every_public_name_and_every_parameter(package):
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8").partition(f"## {package}\n")[2]
    module = pytest.importorskip(package)
    for name in module.__all__:
        assert name == "__version__" or f"### {name}\n" in page, name


@pytest.mark.skipif(shutil.which("bash") is None, reason="the session is typed in a shell")
def test_the_picture_shows_what_the_commands_print(tmp_path):
    terminal = load("terminal")
    lines = terminal.transcript(tmp_path)
    assert any(line.startswith("The poem was written by ") for line in lines)
    picture = (ROOT / "docs/pictures/terminal.svg").read_text(encoding="utf-8")
    texts = re.findall(r"<text [^>]+>(.*?)</text>", picture)
    assert [unescape(re.sub("<[^>]+>", "", text)) for text in texts] == lines, "run: python docs/make/terminal.py"

"""The package as a user meets it: its public names, their examples, its version, `python -m`."""

import doctest
import pydoc
import subprocess
import sys
from importlib import metadata

import pytest

import gpt2_text_prediction

CLASSES = [name for name in gpt2_text_prediction.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", CLASSES)
def test_each_public_name_has_an_example_that_runs(public, name):
    item = getattr(gpt2_text_prediction, name)
    found = doctest.DocTestFinder(recurse=False).find(item, name, globs={})
    examples = [example for test in found for example in test.examples]
    assert examples, f"{name} has no example"
    runner = doctest.DocTestRunner()
    for test in found:
        assert runner.run(test).failed == 0


def test_help_shows_the_public_names_and_completion_nothing_else():
    text = pydoc.render_doc(gpt2_text_prediction, renderer=pydoc.plaintext)
    for name in CLASSES:
        assert f"class {name}(" in text
    assert set(dir(gpt2_text_prediction)) == set(gpt2_text_prediction.__all__)


def test_the_version_is_that_of_the_distribution():
    assert gpt2_text_prediction.__version__ == metadata.version("omz-gpt2")


def test_python_m_is_the_demo(mini_ir):
    command = [sys.executable, "-m", "gpt2_text_prediction", "-m", str(mini_ir), "-i", "The poem", "-n", "2", "-s", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The poem")

"""The Python of README.md and of pages in docs runs, block after block, where ./public has models."""

import re

import pytest

from gpt2_text_prediction import TextGenerator
from support import ROOT

FROM = {"README.md": "\n", "docs/python.md": "\n", "docs/classify.md": "## From Python"}
"""The line from which on a page's Python runs: what trains is before it, and needs the extras."""
PAGES = {
    name: re.findall(
        r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8").partition(begin)[2], flags=re.M | re.S
    )
    for name, begin in FROM.items()
}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(public, capsys, page):
    names: dict[str, object] = {}
    assert PAGES[page]
    for block in PAGES[page]:
        exec(compile(block, page, "exec"), names)
    assert {"docs/classify.md": "spam"}.get(page, "length") in capsys.readouterr().out


def test_the_python_that_is_typed_in_place_of_others_runs(public, capsys):
    page = (ROOT / "docs/coming_from.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    typed = [code for row in rows for code in re.findall(r"`([^`]*(?<!\w)(?<!\w-)gpt2\.[^`]*)`", row[-1])]
    assert len(typed) > 8
    with TextGenerator("gpt-2-mini") as gpt2:
        for code in typed:
            exec(compile(code, code, "exec"), {"gpt2": gpt2})
    assert capsys.readouterr().out

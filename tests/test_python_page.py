"""docs/python.md, README.md and docs/classify.md: their Python runs, block after block, where ./public has models."""

import re

import pytest

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

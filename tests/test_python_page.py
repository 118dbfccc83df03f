"""docs/python.md and README.md: the Python on them runs, block after block, where ./public has gpt-2-mini."""

import re

import pytest

from support import ROOT

PAGES = {
    name: re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    for name in ("README.md", "docs/python.md")
}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(mini_ir, tmp_path, monkeypatch, capsys, page):
    (tmp_path / "public/gpt-2-mini").mkdir(parents=True)
    (tmp_path / "public/gpt-2-mini/FP16").symlink_to(mini_ir.parent)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert PAGES[page]
    for block in PAGES[page]:
        exec(compile(block, page, "exec"), names)
    assert "length" in capsys.readouterr().out

"""The site of the documentation, as `make docs` builds it: links lead somewhere, and nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from support import HANGS_AFTER, ROOT
from support.pages import PAGES

pytestmark = pytest.mark.extras("mkdocs", "material")

LOADED = {"src", "srcset", "data", "poster"}
"""Attributes whose addresses a browser loads, of any element; of <link> it is href."""
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
ELSEWHERE = re.compile(r"^\s*(?:https?:)?//", flags=re.I)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site; warnings, such as one of a link that leads nowhere, end it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_AFTER, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "not included in the" not in done.stderr  # a page that no menu leads to
    return folder


class Loads(HTMLParser):
    """Collects the addresses that a browser loads with a page, and what they may hold in style."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.addresses += [value for name, value in given.items() if name in LOADED]
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.addresses.append(given["href"])
        self.addresses += in_style(given.get("style", ""))


def in_style(css: str) -> list[str]:
    """Return the addresses that a style sheet loads."""
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)


def loads(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return in_style(text)
    page = Loads()
    page.feed(text)
    return page.addresses + [
        each for css in re.findall(r"<style.*?>(.*?)</style>", text, re.S) for each in in_style(css)
    ]


def test_every_page_is_there(site):
    for page in PAGES:
        path = page.relative_to(ROOT)
        folder = path.parent if path.stem == "README" else path.with_suffix("")
        assert (site / folder / "index.html").is_file(), path


def test_nothing_is_loaded_from_elsewhere(site):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".svg")]
    found = {(path.name, address) for path in files for address in loads(path)}
    assert len(found) > 20
    assert [each for each in found if ELSEWHERE.match(each[1])] == []


def test_a_table_shows_no_backslash_that_github_needs(site):
    page = site / "tools/index.html"
    assert "omz|strided" in re.sub("<[^>]+>", "", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("address", ["//cdn.example.org/a.js", "https://fonts.example.org/css"])
def test_what_comes_from_elsewhere_would_be_found(tmp_path, address):
    page = tmp_path / "page.html"
    for content in (
        f'<script src="{address}"></script>',
        f'<link rel="stylesheet" href="{address}">',
        f"<style>@import '{address}';</style>",
        f'<p style="background: url({address})">',
    ):
        page.write_text(content)
        assert [each for each in loads(page) if ELSEWHERE.match(each)] == [address]

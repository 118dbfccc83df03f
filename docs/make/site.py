"""Hooks of MkDocs: the site has the repository's pages in the repository's folders, so that links are GitHub's.

mkdocs.yml names this file; `make docs` builds the site.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)#\s]+)")
CODE = re.compile(r"`[^`\n]+`")


def pages() -> list[Path]:
    """Return the pages of documentation: those at the top, and those below models, demos, tools and docs."""
    below = [path for folder in ("models", "demos", "tools", "docs") for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *below])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the theme's files, the pages, and the files of the repository that pages link to or show."""
    paths = set(pages())
    for page in pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and (path := (page.parent / target).resolve()).is_file():
                paths.add(path)
    ours = [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)) for path in sorted(paths)]
    return Files([file for file in files if file.src_dir != config.docs_dir] + ours)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    r"""Return a page with `a|b` for `a\|b` in its tables: GitHub's tables ask for the backslash, MkDocs shows it."""
    lines = markdown.split("\n")
    return "\n".join(
        CODE.sub(lambda code: code[0].replace(r"\|", "|"), line) if line.startswith("|") else line for line in lines
    )

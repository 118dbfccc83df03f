"""The pages of the documentation."""

from support import ROOT

FOLDERS = ("models", "demos", "tools", "docs")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])

"""The commands on the pages: each can be parsed, whatever it is given to work on."""

import argparse
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from support import ROOT
from support.pages import PAGES

OURS = {entry.name for entry in entry_points(group="console_scripts") if entry.module.startswith(("omz_", "gpt2_"))}
NAMES = "|".join(sorted(OURS))
BLOCK = re.compile(r"^```(?:|sh|console)\n(.*?)^```$", flags=re.M | re.S)
TYPED = re.compile(rf"^\$ ((?:{NAMES}) .+)$", flags=re.M)
ALONE = re.compile(rf"^((?:{NAMES}) .+)$", flags=re.M)
"""A command in a block that shows no output, and so has no $ before what is typed."""
CELL = re.compile(r"`((?:[^`|\\]|\\.)+)`")
OTHERS = ("gpt2_evaluate lm-eval",)
"""What hands its flags on to a program that is not ours."""


class Parsed(Exception):
    """A command line was parsed to its end."""


def shown(page: Path) -> list[str]:
    """Return the commands of ours in the blocks of a page; of the page of translations, the right column too."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = BLOCK.findall(text)
    found = [line for block in blocks for line in (TYPED if "$ " in block else ALONE).findall(block)]
    if page.name == "coming_from.md":
        found += [code for code in right_column(text) if code.split()[0] in OURS]
    return [command for command in found if not command.startswith(OTHERS)]


def right_column(text: str) -> list[str]:
    """Return the code in the second cells of tables."""
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return [code.replace(r"\|", "|") for row in rows for code in CELL.findall(row[1])]


COMMANDS = sorted({(str(page.relative_to(ROOT)), command) for page in PAGES for command in shown(page)})


def words(command: str) -> list[str]:
    """Return the words of the first of a line's commands, as a shell splits them."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[str] = []
    for word in lexer:
        if not word.strip("|&;<>"):
            return found[:-1] if word.startswith(">") and found[-1] == "2" else found
        found.append(word)
    return found


def test_there_are_commands():
    assert len(COMMANDS) > 100
    assert OURS - {"omz_model_checker"} <= {command.split()[0] for _, command in COMMANDS}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_shown_command_can_be_parsed(monkeypatch, page, command):
    name, *arguments = words(command)
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr("sys.argv", [name, *arguments])
    (entry,) = entry_points(group="console_scripts", name=name)
    with pytest.raises((Parsed, SystemExit)) as ended:
        entry.load()()
    assert ended.type is Parsed or (ended.value.code == 0 and arguments[-1] in ("--help", "-h", "--print_all"))

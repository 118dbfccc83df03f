"""docs/finetune.md: its commands work, on a toy and for a few steps."""

import json
import re
import shlex

import pytest

from gpt2_tools.finetune.run import LIBRARIES
from support import ROOT

pytestmark = pytest.mark.extras(*LIBRARIES)

PAGE = (ROOT / "docs/finetune.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ gpt2_finetune (.+)$", PAGE, flags=re.M)]
SMALLER = {"--steps": "3", "--epochs": "0.1", "--block_size": "16", "--batch_size": "2", "--model": "toy"}
SMALLER |= {"--sample_every": "2", "--from_scratch": "2x2x16:300:32", "--warmup": "1"}


def smaller(command):
    """Return a command with fewer steps on a toy."""
    before = [None, *command]
    return [SMALLER.get(flag, value) for flag, value in zip(before, command, strict=False)]


each = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:3]))


@pytest.fixture
def data(folder):
    """Return a folder with the toy and the commands' data sets."""
    text = (folder / "book.txt").read_text()
    (folder / "pride.txt").write_text(text)
    (folder / "texts").mkdir()
    (folder / "texts/a.txt").write_text(text)
    rows = [json.dumps({"body": line}) for line in text.splitlines()]
    (folder / "notes.jsonl").write_text("\n".join(rows))
    return folder


@each
def test_every_command_works(server, data, command):
    code, err = server.run(data, *smaller(command), "--threads", 1, "--precision", "f32")
    assert code == 0, err
    name = command[command.index("--run_name") + 1] if "--run_name" in command else "run1"
    assert (data / f"checkpoint/{name}/FP16/{name}.xml").is_file() == ("--dry_run" not in command)


@each
def test_every_command_can_be_tried_with_a_dry_run(server, data, command):
    code, err = server.run(data, *smaller(command), "--threads", 1, "--precision", "f32", "--dry_run")
    assert code == 0, err


def test_the_page_has_an_example_of_each_kind():
    kinds = ("--from_scratch", "--lora", "--dry_run")
    assert all(sum(kind in command for command in COMMANDS) == 1 for kind in kinds)
    assert len(COMMANDS) == 4

"""docs/classify.md, its section Train: its commands work, on a toy and for a few steps."""

import csv
import json
import re
import shlex

import pytest

from gpt2_tools.finetune.arguments import parse
from gpt2_tools.finetune.run import LIBRARIES
from support import ROOT

libraries = pytest.mark.extras(*LIBRARIES)

PAGE = (ROOT / "docs/classify.md").read_text(encoding="utf-8").partition("## Train\n")[2]
YELP = (ROOT / "models/datasets/yelp-review-full/README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:\$ )?gpt2_finetune (.+)$", PAGE + YELP, flags=re.M)
SMALLER = {"--epochs": "0.1", "--block_size": "16", "--batch_size": "2", "--model": "toy"}


def write_table(path, numbered):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(str(i % 2), f"a text {i}") for i in range(20)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows if numbered else [("label", "text"), *rows])


@libraries
@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.split()[5])
def test_every_command_works(server, labelled, line):
    command = shlex.split(line)
    settings, _ = parse(command)
    for path in (settings.dataset, settings.validation_file):
        if path is not None:
            write_table(labelled / path, settings.label_column == "1")
    smaller = [SMALLER.get(flag, value) for flag, value in zip([None, *command], command, strict=False)]
    code, err = server.run(labelled, *smaller, "--threads", 1, "--precision", "f32")
    assert code == 0, err
    assert "texts held out: accuracy" in err


def test_the_page_has_an_example_of_each_kind():
    assert len(COMMANDS) == 3
    assert all(" --task classification " in f" {line}" for line in COMMANDS)


def test_the_script_makes_the_table_of_mails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{'spam-1' if i % 3 == 0 else 'easy-ham-1'}/{i}.abc.txt" for i in range(900)]
    for name in names:
        path = (tmp_path / "package/data" / name).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": f"From a\nSubject: s {name}\nTo: b\n\nbody\n\nof it"}))
    (tmp_path / "package/data/file_list.json").write_text(json.dumps(names))
    exec(PAGE.partition("```python\n")[2].partition("```")[0], {})
    with (tmp_path / "spam.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert (header, len(rows)) == (["text", "label"], 800)
    assert rows[0] == [f"s {names[0]}\n\nbody\n\nof it", "spam"]
    assert rows[-1][1] == "ham"


@libraries
def test_the_lines_of_python(labelled, monkeypatch):
    monkeypatch.chdir(labelled)
    code = PAGE.partition("From Python:\n\n```python\n")[2].partition("```")[0]
    code = code.replace("gpt-2-mini", "toy").replace("spam.csv", "texts.csv")
    code = code.replace("block_size=96", "block_size=16, steps=2, threads=1")
    exec(code, {})
    assert (labelled / "checkpoint/run1/model/config.json").is_file()

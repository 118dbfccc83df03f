"""gpt2_finetune --task classification as a command: what it prints, writes and refuses."""

import json
import re
from pathlib import Path

import pytest

from gpt2_tools.finetune.classification import Classification
from gpt2_tools.finetune.run import LIBRARIES
from gpt2_tools.finetune.settings import Settings
from support.finetune import TINY

libraries = pytest.mark.extras(*LIBRARIES)
RUN = ("--task", "classification", "--model", "toy", "--dataset", "texts.csv", "--steps", 4, *TINY)


@libraries
def test_a_run_says_what_it_does_and_leaves_figures_and_a_picture(server, labelled):
    code, err = server.run(labelled, *RUN, "--block_size", 12, "--validation_split", 0.3)
    lines = err.splitlines()
    about = (
        r"texts.csv: 42 texts to train on with 3 labels \(calm 14, loud 14, odd 14\), \d+ cut to 12 tokens; "
        r"validation on 18, 30% of each label; 4 steps of 2, in f32"
    )
    assert re.fullmatch(about, lines[0])
    assert re.fullmatch(r"\[0\] validation loss=\d\.\d{4} accuracy=0\.\d{3} macro_f1=0\.\d{3}", lines[1])
    assert lines[2].startswith("[4 | ")
    assert re.fullmatch(
        r"checkpoint/run1: step 4, on all 18 texts held out: accuracy 0\.\d{3}, macro-F1 0\.\d{3}", lines[4]
    )
    assert code == 0
    run = labelled / "checkpoint/run1"
    assert json.loads((run / "evaluation.json").read_bytes())["texts"] == 18
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run / "run.json").read_bytes())["settings"]["task"] == "classification"
    assert (run / "model/model.safetensors").is_file()


@libraries
def test_it_ends_with_irs_and_the_command_that_runs_them(server, labelled):
    started = server.start(labelled, *RUN)
    assert started.wait() == 0, started.err
    assert started.out == "gpt2_classify -m checkpoint/run1/FP16/run1.xml -i 'a text of yours'\n"
    assert (labelled / "checkpoint/run1/FP32/run1.xml").is_file()


def test_the_command_names_the_ir():
    settings = Settings(Path("texts.csv"), "toy", task="classification")
    command = Classification().command(Path("a b/FP16/run1.xml"), settings)
    assert command == "gpt2_classify -m 'a b/FP16/run1.xml' -i 'a text of yours'"


@libraries
def test_a_dry_run_counts_and_leaves_nothing(server, labelled):
    before = {path.name for path in labelled.iterdir()}
    started = server.start(labelled, *RUN[: -len(TINY) - 2], "--epochs", 2, *TINY, "--dry_run")
    assert started.wait() == 0, started.err
    lines = started.out.splitlines()
    assert re.fullmatch(
        r"texts: 54 to train on, 6 to validate on; tokens: \d+ and \d+; cut to 16 tokens: \d+", lines[0]
    )
    assert lines[1] == "labels: 3 (calm, loud, odd); steps: 54 of 2 texts"
    assert lines[2].startswith("one step: ")
    assert {path.name for path in labelled.iterdir()} - before == {"stdout", "stderr"}


def write(name, text):
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


REFUSED = [
    (None, "--sample_every 4", "--sample_every: does not apply to --task classification"),
    (None, "--sample_prompt a", "--sample_prompt: does not apply to --task classification"),
    (None, "--vocab_size 300", "--vocab_size: does not apply to --task classification"),
    (None, "--from_scratch gpt-2", "--from_scratch: does not apply to --task classification"),
    (None, "--task generation --label_column label", "--label_column: does not apply to --task generation"),
    (None, "--task generation --max_train_samples 9", "--max_train_samples: does not apply to --task generation"),
    (None, "--dataset book.txt", "--dataset: expected a table that ends in .csv, .jsonl, .parquet, got book.txt"),
    (None, "--validation_file toy", "--validation_file: expected a table that ends in .csv, .jsonl, .parquet, got toy"),
    (None, "--dataset none.csv", "none.csv: No such file or directory"),
    (write("e.csv", ""), "--dataset e.csv", "e.csv: is empty; expected a text to train on"),
    (
        None,
        "--label_column stars",
        "texts.csv: expected a column 'stars' (--label_column), got text, label; in a file w",
    ),
    (None, "--label_column 3 --text_column 1", "texts.csv: expected a column 3, counted from 1, got 2 columns"),
    (None, "--label_column text", "--text_column, --label_column: expected two columns, got text for both"),
    (write("l.csv", "text,label\na,x\nb,\n"), "--dataset l.csv", "l.csv: line 3 has no label; expected a text and a"),
    (write("t.csv", "text,label\na,x\n ,y\n"), "--dataset t.csv", "t.csv: line 3 has no text; expected a text and a l"),
    (
        write("o.csv", "text,label\na,x\nb,x\n"),
        "--dataset o.csv",
        "o.csv: has one kind of label, x, in all 2 rows of t",
    ),
    (
        write("r.csv", "text,label\na,x\nb,y,z\n"),
        "--dataset r.csv",
        "r.csv: line 3: expected 2 columns, as in the first",
    ),
    (
        write("b.csv", b"text,label\na,x\n\xff,y\n"),
        "--dataset b.csv",
        "b.csv: expected UTF-8, got 0xff as byte 1 of li",
    ),
    (
        write("v.csv", "text,label\na,calm\nb,new\n"),
        "--validation_file v.csv",
        "v.csv: has labels that the data set has",
    ),
    (
        write("s.csv", "text,label\na,x\nb,y\n"),
        "--dataset s.csv --validation_split 0.1",
        "s.csv: has no texts to valid",
    ),
    (None, "--block_size 33", "--block_size: expected at most 32, the model's positions, got 33"),
    (None, "--model nothing", "--model: expected a model of the zoo or the folder of a checkpoint, got nothing"),
]


@libraries
@pytest.mark.parametrize(("prepare", "more", "line"), REFUSED, ids=[more for _, more, _ in REFUSED])
def test_what_a_user_can_mend_is_one_line(server, labelled, prepare, more, line):
    if prepare is not None:
        prepare(labelled)
    code, err = server.run(labelled, *RUN, *more.split())
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith(line), err
    assert not list(labelled.glob("checkpoint/*/checkpoint-*"))


@libraries
def test_a_run_keeps_its_task_columns_and_samples(server, labelled):
    assert server.run(labelled, *RUN)[0] == 0
    text = "text,label,other\n" + "".join(f"a{i},{i % 2},{i % 2}\n" for i in range(60))
    for more, line in (
        ("--max_train_samples 9", "--max_train_samples: checkpoint/run1 was begun with None, got 9"),
        ("--label_column label", "--label_column: checkpoint/run1 was begun with None, got label"),
        ("--block_size 8", "--block_size: checkpoint/run1 was begun with 16, got 8"),
        ("--dataset other.csv", "--dataset: checkpoint/run1 was begun with other files"),
        ("--task generation", "--task: checkpoint/run1 was begun with classification, got generation"),
    ):
        (labelled / "other.csv").write_text(text)
        code, err = server.run(labelled, *RUN, *more.split())
        assert (code, err.splitlines()[-1].startswith(line)) == (1, True), err

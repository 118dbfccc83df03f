"""examples: tokens, labels and hold-out on the disk, checked against the rows; what a data set lacks is one line."""

import csv
import json

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.classification.examples import (
    Examples,
    Form,
    HoldOut,
    collate,
    open_examples,
    write_examples,
)
from gpt2_tools.finetune.classification.rows import Columns
from gpt2_tools.finetune.data.tokens import Encoder, Source

BYTES = Encoder(lambda texts: [list(text.encode()) for text in texts], 0, 300)
FORM = Form(Columns(), BYTES, 8)
ROWS = [(f"text {i}", ["no", "yes", "maybe"][i % 3]) for i in range(12)]


def write(path, rows=ROWS):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return Source([path], "text")


def texts_of(examples):
    return [
        (bytes(ids.tolist()).decode(), examples.labels[label])
        for ids, label in map(examples.__getitem__, range(len(examples)))
    ]


def test_what_was_written_is_what_was_read(tmp_path):
    source = write(tmp_path / "t.csv")
    files = write_examples(tmp_path / "tokens", source, HoldOut(0.25), FORM)
    assert open_examples(tmp_path / "tokens") == files
    train, held = (Examples(tmp_path / "tokens", files, is_held) for is_held in (False, True))
    assert files.labels == ["maybe", "no", "yes"]
    assert sorted(texts_of(train) + texts_of(held)) == sorted(ROWS)
    assert [label for _, label in texts_of(held)] == ["no", "yes", "maybe"]
    assert (files.texts, files.held_out_texts, files.cut) == ([3, 3, 3], 3, 0)
    assert files.train + files.validation == sum(len(text) for text, _ in ROWS)
    assert train.lengths.tolist() == [len(text) for text, _ in texts_of(train)]
    assert texts_of(train.spread(2)) == [texts_of(train)[0], texts_of(train)[-1]]
    assert texts_of(train.spread(99)) == texts_of(train)


def test_longer_texts_are_cut_and_counted(tmp_path):
    source = write(tmp_path / "t.csv", [("a" * 9, "x"), ("b" * 8, "y"), ("c" * 99, "x")])
    files = write_examples(tmp_path / "tokens", source, HoldOut(0.0), FORM)
    assert files.cut == 2
    assert texts_of(Examples(tmp_path / "tokens", files, False)) == [("a" * 8, "x"), ("b" * 8, "y"), ("c" * 8, "x")]


def test_another_file_is_held_out_and_both_are_sampled(tmp_path):
    source, other = write(tmp_path / "t.csv"), write(tmp_path / "v.csv", ROWS[:6])
    files = write_examples(tmp_path / "tokens", source, HoldOut(other, 6, 3), FORM)
    assert (files.texts, files.held_out_texts) == ([2, 2, 2], 3)
    assert files.held_out == str(tmp_path / "v.csv")
    assert set(texts_of(Examples(tmp_path / "tokens", files, True))) < set(ROWS[:6])


def test_half_written_files_are_not_opened(tmp_path):
    write_examples(tmp_path / "tokens", write(tmp_path / "t.csv"), HoldOut(0.25), FORM)
    for name in ("tokens.json", "texts.bin", "ends.npy", "labels.npy", "held_out.npy"):
        whole = (tmp_path / "tokens" / name).read_bytes()
        (tmp_path / "tokens" / name).write_bytes(whole[: len(whole) // 2])
        assert open_examples(tmp_path / "tokens") is None
        (tmp_path / "tokens" / name).write_bytes(whole)
    assert open_examples(tmp_path / "tokens") is not None


@pytest.mark.extras("torch")
def test_a_batch_is_padded_on_the_right():
    batch = collate([(np.array([5, 6, 7]), 1), (np.array([8]), 0)], pad=99)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 99, 99]]
    assert batch["labels"].tolist() == [1, 0]


REFUSED = [
    ([("a", "x"), ("b", "")], "t.csv: line 3 has no label; expected a text and a label in each row"),
    (
        [("a", "x"), ("b", ""), ("c", " ")],
        "t.csv: line 3 and 1 more have no label; expected a text and a label in each",
    ),
    ([("a", "x"), (" ", "y"), ("", "y")], "t.csv: line 3 and 1 more have no text; expected a text and a label in each"),
    (
        [("a", "x"), ("b", "x")],
        "t.csv: has one kind of label, x, in all 2 rows of the column 'label'; expected two kinds",
    ),
    (
        [(f"a{i}", f"{i}") for i in range(100_000)],
        "t.csv: line 1002: has the 1001th kind of label, '1000'; expected at",
    ),
    ([], "t.csv: has no texts with labels; expected rows with both"),
]


@pytest.mark.parametrize(("rows", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_a_data_set_that_cannot_be_trained_on_is_one_line(tmp_path, rows, line):
    with pytest.raises(Problem) as caught:
        write_examples(tmp_path / "tokens", write(tmp_path / "t.csv", rows), HoldOut(0.1), FORM)
    assert str(caught.value).startswith(f"{tmp_path}/{line}")
    assert not (tmp_path / "tokens").exists()


def test_labels_unseen_at_validation_are_listed(tmp_path):
    other = write(tmp_path / "v.csv", [("a", "never"), ("b", "no"), ("c", "always")])
    with pytest.raises(Problem) as caught:
        write_examples(tmp_path / "tokens", write(tmp_path / "t.csv"), HoldOut(other), FORM)
    line = "v.csv: has labels that the data set has not: always, never; expected maybe, no, yes"
    assert str(caught.value) == f"{tmp_path}/{line}"


def test_a_text_without_tokens_is_refused(tmp_path):
    deaf = Form(Columns(), Encoder(lambda texts: [[] if text == "?" else [1] for text in texts], 0, 300), 8)
    with pytest.raises(Problem, match=r"t.csv: line 3 has no text; expected"):
        write_examples(tmp_path / "tokens", write(tmp_path / "t.csv", [("a", "x"), ("?", "y")]), HoldOut(0.0), deaf)


def test_a_token_that_the_model_has_not_is_refused(tmp_path):
    small = Form(Columns(), Encoder(BYTES.encode, 0, 100), 8)
    with pytest.raises(Problem, match=r"t.csv: has the token id 120, by the tokenizer; the model has 100 tokens"):
        write_examples(tmp_path / "tokens", write(tmp_path / "t.csv"), HoldOut(0.0), small)


def test_json_lines_and_csv_give_the_same_files(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for source, name in ((write(tmp_path / "t.csv"), "a"), (Source([tmp_path / "t.jsonl"], "text"), "b")):
        write_examples(tmp_path / name, source, HoldOut(0.25), FORM)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()

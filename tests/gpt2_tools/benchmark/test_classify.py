"""classify: texts/s of both and the labels that are the same, on a toy; what is wrong with the texts or the model."""

import json

import pytest

from gpt2_tools.benchmark.classify import read_texts
from gpt2_tools.common.problem import Problem
from support.labels import ir, write_classifier
from support.toy import Toy

TOY = Toy(n_positions=24, n_embd=16)
TEXTS = ["the rat", "is it so, or not?", "ten hats", "no", "rest in heat and rain, all of us there " * 3]


@pytest.mark.extras("torch", "transformers")
@pytest.mark.parametrize("pad", [TOY.end_of_text_id, None])
def test_both_classify_the_same_texts(run, tmp_path, pad):
    checkpoint = write_classifier(TOY, tmp_path / "in", ("one", "two", "three"), pad)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    model = ir(checkpoint, tmp_path / "FP32/toy.xml")
    command = ["gpt2_benchmark", "-m", model, "--classify", "texts.jsonl", "--checkpoint", checkpoint]
    done = run(*command, "-n", "2", "-N", "0", "--precision_hint", "f32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["texts"] == len(TEXTS)
    figures = report["figures"]
    theirs = [f"transformers, batch_size {size}" for size in ((1, 8) if pad is not None else (1,))]
    ours = "gpt2_classify, FP16"  # as --peers names the IR of -m
    assert list(figures) == [
        ours,
        *theirs,
        *(f"{ours} / {other}" for other in theirs),
        f"{ours}, the pipeline's labels",
    ]
    assert figures[f"{ours}, the pipeline's labels"]["median"] == 100
    assert all(figures[name]["median"] > 0 for name in figures)


def test_texts_are_lines_or_objects(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": " two", "label": 3}\n{"text": " "}\n')
    assert read_texts(tmp_path / "a.txt") == read_texts(tmp_path / "a.jsonl") == ["one", " two"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [("a.txt", "\n", "expected texts, got none"), ("a.jsonl", "[]\n", "expected an object with a 'text' in each line")],
)
def test_a_file_without_texts_is_refused(tmp_path, name, content, line):
    (tmp_path / name).write_text(content)
    with pytest.raises(Problem, match=f"--classify: .*{name}: {line}"):
        read_texts(tmp_path / name)


def test_a_language_model_is_refused(run, tmp_path):
    path = TOY.ir(tmp_path / "toy")
    (tmp_path / "a.txt").write_text("one\n")
    done = run("gpt2_benchmark", "-m", path, "--classify", "a.txt", "--checkpoint", path.parent, cwd=tmp_path)
    assert done.returncode == 1
    assert "expected a model of labels" in done.stderr.decode()

"""gpt2_evaluate lambada: passages split by hand, likelihoods of the numpy oracle; mistakes are one line each."""

import contextlib
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.lambada import (
    Passage,
    harness_passage,
    metrics,
    openai_passage,
    passage_likelihoods,
    read_passages,
)
from gpt2_tools.evaluate.scorer import Likelihood, load_scorer
from support.bigram import bigram
from support.toy import Toy

TOY = Toy(n_positions=48)
PASSAGES = ["a rat ate the hay", "so did the other one.", "the “end” of it"]


def characters(text: str) -> list[int]:
    """A tokenizer whose tokens are characters."""
    return [ord(character) for character in text]


def words(text: str) -> list[int]:
    """A tokenizer whose tokens are words with the space before them, as most of GPT-2's are."""
    return [hash(word) for word in text.replace(" ", "\0 ").split("\0") if word]


@pytest.fixture(scope="module")
def toy_ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def evaluate(run):
    return lambda *arguments, **options: run("gpt2_evaluate", "lambada", *arguments, **options)


def write(path: Path, passages: list[str]) -> Path:
    lines = [json.dumps({"text": passage}, ensure_ascii=False) for passage in passages]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_harness_cuts_at_the_last_space():
    assert harness_passage("ab cd", characters, 99) == Passage(characters("ab cd"), 3)
    assert harness_passage("a b c", words, 99) == Passage(words("a b c"), 1)
    assert harness_passage("ab   cd", characters, 99) == Passage(characters("ab   cd"), 5)  # as it moves them


def test_a_word_that_is_part_of_the_token_before_it_has_its_own_tokens():
    def encode(text: str) -> list[int]:
        return [text.count(" ")]  # one token, whatever the text

    assert harness_passage("a b c", encode, 99) == Passage([1, 1], 1)


def test_a_long_passage_loses_its_beginning():
    assert harness_passage("ab cd", characters, 4) == Passage(characters("b cd"), 3)
    assert harness_passage("ab cd", characters, 3) == Passage(characters(" cd"), 2)  # one is needed before them
    assert openai_passage("ab cd", characters, 3) == Passage(characters(" cd"), 1)


def test_openai_asks_for_the_last_token_after_a_line_feed():
    assert openai_passage(" “ab” cd ", characters, 99) == Passage(characters('\n"ab" cd'), 1)


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_every_passage_that_ends_with_a_word_is_read(texts):
    passages = [text.replace(" ", "") + "a b" for text in texts]
    for ensure_ascii in (True, False):
        lines = [json.dumps({"text": passage, "more": 1}, ensure_ascii=ensure_ascii) for passage in passages]
        assert read_passages(Path("x"), "\n".join(lines) + "\n\n") == passages


@given(st.text())
def test_any_other_line_is_a_problem(line):
    with contextlib.suppress(Problem):
        assert read_passages(Path("x"), line)


def test_answers_by_hand(tmp_path):
    """After 0 comes 0 with 3/4, after 1 with 1/4. Padding changes nothing, nor does the size of a batch."""
    score = load_scorer(bigram(tmp_path / "x.xml", np.log([[3, 1], [1, 3]]))).score
    passages = [Passage([0, 0, 1, 1, 1], 2), Passage([1, 0, 0], 1), Passage([0, 1, 0], 2), Passage([0, 0, 1], 1)]
    wanted = [(math.log(9 / 16), True), (math.log(3 / 4), True), (math.log(1 / 16), False), (math.log(1 / 4), False)]
    for batch in (1, 2, 3, 9):
        found = list(passage_likelihoods(score, passages, batch))
        assert [right for _, right in found] == [right for _, right in wanted]
        assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in wanted], abs=1e-6)


def test_a_measure_by_hand():
    """Of 1/2 and 1/8 the geometric mean is 1/4; the errors are those of two numbers that are as far from their mean."""
    found = metrics([Likelihood(math.log(1 / 2), True), Likelihood(math.log(1 / 8), False)])
    assert found == pytest.approx((1 / 2, 1 / 2, 4, 4 * math.log(2)))
    assert metrics([Likelihood(math.log(1 / 2), True)]) == pytest.approx((1, None, 2, None))


def oracle(ids: list[int], wanted: int) -> tuple[float, bool]:
    """What the numpy GPT-2 says of the last tokens."""
    logits = TOY.logits(ids)[-1 - wanted : -1]
    norms = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    labels = np.array(ids[-wanted:])
    return float((logits[np.arange(wanted), labels] - norms).sum()), bool((logits.argmax(-1) == labels).all())


def test_the_whole_transcript(evaluate, toy_ir, tmp_path):
    data = write(tmp_path / "x.jsonl", PASSAGES)
    done = evaluate("-m", toy_ir, "--data", data, "--batch", "2", "-nthreads", "1")
    assert done.returncode == 0, done.stderr.decode()
    *lines, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    encode = GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt").encode
    cut = [text.rpartition(" ")[0] for text in PASSAGES]
    harness = [
        oracle(encode(text), len(encode(text)) - len(encode(before)))
        for text, before in zip(PASSAGES, cut, strict=True)
    ]
    openai = [oracle(encode("\n" + text.replace("“", '"').replace("”", '"')), 1) for text in PASSAGES]
    for name, expected in (("lm-evaluation-harness", harness), ("openai", openai)):
        losses = [-logprob for logprob, _ in expected]
        error = np.std(losses, ddof=1) / 3**0.5
        assert said[name]["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-3)
        assert said[name]["perplexity_stderr"] == pytest.approx(math.exp(np.mean(losses)) * error, rel=1e-3)
        assert said[name]["accuracy"] == np.mean([right for _, right in expected])
    one, other = said["lm-evaluation-harness"], said["openai"]
    groups = said["dynamic_quantization_group_size"]
    assert lines[-1].startswith("time                    ")
    assert lines[:-1] == [
        "definition              accuracy                perplexity",
        f"lm-evaluation-harness   {one['accuracy']:.4f} ± {one['accuracy_stderr']:.4f}         "
        f"{one['perplexity']:.2f} ± {one['perplexity_stderr']:.2f}",
        f"openai                  {other['accuracy']:.4f} ± {other['accuracy_stderr']:.4f}         "
        f"{other['perplexity']:.2f} ± {other['perplexity_stderr']:.2f}",
        f"data                    3 of 3 passages, {data}, SHA-256 {hashlib.sha256(data.read_bytes()).hexdigest()}",
        f"precision               f32, cache f32, dynamic quantization in groups of {groups}",
        f"runtime                 openvino {said['versions']['openvino']}, CPU, 1 threads",
    ]


def test_words_that_the_model_expects(evaluate, toy_ir, tmp_path):
    """Built with the oracle: passages that end with what is likeliest, and one that does not."""
    tokenizer = GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt")
    passages = []
    for i in range(300):
        start = tokenizer.encode(f"\nthe rat {i} said")
        text = tokenizer.decode([*start, *TOY.greedy(start, 1)])
        if tokenizer.encode(text)[:-1] == start and text.isprintable() is False and text[-1].isalnum():
            passages.append(text[1:])
    assert passages, "the toy expects a letter somewhere"
    found = json.loads(
        evaluate("-m", toy_ir, "--data", write(tmp_path / "x.jsonl", passages)).stdout.decode().splitlines()[-1]
    )
    assert found["openai"]["accuracy"] == 1
    assert found["lm-evaluation-harness"]["accuracy"] < 1


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "{data}: is empty; expected a text to score"),
        (b"\n \n", '{data}: expected lines such as {{"text": "a passage"}}, got none'),
        (b'{"text": "a b"}\nnothing\n', "{data}: line 2: is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"text": "a b"}\n{"text": "\xff b"}', "{data}: expected UTF-8, got 0xff as byte 11 of line 2 (byte 27 of "
         "the file)"),
        (b'["a b"]', '{data}: line 1: expected an object with a string under "text"'),
        (b'{"text": 5}', '{data}: line 1: expected an object with a string under "text"'),
        (b'{"text": "word"}', "{data}: line 1: expected a passage that ends with a space and a word, got 'word'"),
        (b'{"text": "a word "}', "{data}: line 1: expected a passage that ends with a space and a word, got "
         "'a word '"),
        (b'{"text": " word"}', "{data}: line 1: expected a passage that ends with a space and a word, got ' word'"),
        (b'{"text": "a \\ud800"}', "{data}: line 1: expected Unicode characters, got a lone surrogate"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(evaluate, toy_ir, tmp_path, content, line):
    data = tmp_path / "x.jsonl"
    data.write_bytes(content)
    done = evaluate("-m", toy_ir, "--data", data)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == [line.format(data=data)]


def test_the_data_set_is_brought_by_a_command_and_held_against_its_sum(evaluate, toy_ir, tmp_path):
    done = evaluate("-m", toy_ir, cwd=tmp_path)
    path = "datasets/lambada/lambada_test.jsonl"
    message = "download it with `omz_data_downloader --name lambada`, or give its folder with --data_dir"
    assert (done.returncode, done.stderr.decode()) == (1, f"{path}: there is no such file; {message}\n")
    (tmp_path / path).parent.mkdir(parents=True)
    write(tmp_path / path, PASSAGES)
    done = evaluate("-m", toy_ir, cwd=tmp_path)
    expected = "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226"
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"{path}: expected the SHA-256 {expected}, got ")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing on Windows")
def test_ctrl_c_prints_what_there_is_and_says_so(interrupted, mini_ir, tmp_path):
    data = write(tmp_path / "x.jsonl", ["the house of the people of the United States " * 4 + "of America"] * 1000)
    out = interrupted("gpt2_evaluate", "lambada", "-m", mini_ir, "--data", data, "--batch", "1")
    first, *_, last = out.splitlines()
    said = json.loads(last)
    assert said["interrupted"] is True
    assert 100 <= said["passages"] < 1000
    assert first == f"interrupted: the figures are of the first {said['passages']} passages"

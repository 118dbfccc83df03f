"""gpt2_evaluate perplexity: it prints the numpy oracle's figures; a user's mistakes are one line each."""

import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support import DATA
from support.toy import Toy, save

HELDOUT = DATA / "gpt-2-mini/heldout.txt"
FIRST_KEYS = ["perplexity", "perplexity_stderr", "word_perplexity", "bits_per_byte", "tokens", "windows"]
TOY = Toy()
TEXT = "the rats ate the hay; so did another one.\n" * 3
WORDS, BYTES = 27, 126


@pytest.fixture(scope="module")
def toy_ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def tokens(toy_ir):
    return GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt").encode(TEXT)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def evaluate(run):
    return lambda *arguments, **options: run("gpt2_evaluate", "perplexity", *arguments, **options)


def said_by(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def test_one_token_has_no_error_estimate(evaluate, toy_ir, text):
    done = evaluate("-m", toy_ir, "--text", text, "--context", 2, "--limit", 1)
    said = said_by(done)
    assert (said["tokens_scored"], said["perplexity_stderr"]) == (1, None)
    line = f"perplexity       {said['perplexity']:.4f} (of one token there is no error estimate)"
    assert line in done.stdout.decode().splitlines()


def losses(tokens: list[int], context: int) -> list[float]:
    """Open Model Zoo's protocol on the numpy oracle."""
    found = []
    for start in range(0, len(tokens) - context + 1, context):
        window = tokens[start : start + context]
        for row, token in zip(TOY.logits(window)[:-1], window[1:], strict=True):
            found.append(float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[token]))
    return found


def test_the_whole_transcript(evaluate, toy_ir, text, tokens):
    done = evaluate("-m", toy_ir, "--text", text, "-nthreads", "1")
    said = said_by(done)
    *table, time, last = done.stdout.decode().splitlines()
    expected = losses(tokens, 16)
    mean, stderr = np.mean(expected), np.std(expected, ddof=1) / len(expected) ** 0.5
    assert list(said)[:6] == FIRST_KEYS
    assert (said["tokens"], said["windows"], said["tokens_scored"]) == (len(tokens), len(tokens) // 16, len(expected))
    assert said["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)
    assert said["perplexity_stderr"] == pytest.approx(math.exp(mean) * stderr, rel=1e-3)
    assert said["word_perplexity"] == pytest.approx(math.exp(mean * len(tokens) / WORDS), rel=1e-3)
    assert said["bits_per_byte"] == pytest.approx(mean / math.log(2) * len(tokens) / BYTES, rel=1e-4)
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    groups = said["dynamic_quantization_group_size"]
    assert table == [
        f"text             {text}, the whole file; {BYTES} bytes, SHA-256 {sha256}",
        f"tokens           {len(tokens)}, of which {len(expected)} were scored in {len(tokens) // 16} windows",
        "method           omz, context 16",
        f"precision        f32, cache f32, dynamic quantization in groups of {groups}",
        f"runtime          openvino {said['versions']['openvino']}, CPU, 1 threads",
        f"perplexity       {said['perplexity']:.4f} ± {said['perplexity_stderr']:.4f}",
        f"word perplexity  {said['word_perplexity']:.4f}",
        f"bits per byte    {said['bits_per_byte']:.4f}",
    ]
    assert re.fullmatch(r"time             \d+\.\d s, \d+ tokens/s", time)
    assert json.loads(last) == said


def test_the_last_line_names_the_method_the_text_and_the_runtime(evaluate, toy_ir, text):
    arguments = ["--method", "strided", "--context", "8", "--stride", "3", "--batch", "4", "--limit", "5"]
    said = said_by(evaluate("-m", toy_ir, "--text", text, *arguments))
    named = {name: said[name] for name in ("method", "context", "stride", "batch", "windows", "interrupted", "device")}
    assert named == {
        "method": "strided",
        "context": 8,
        "stride": 3,
        "batch": 4,
        "windows": 5,
        "interrupted": False,
        "device": "CPU",
    }
    assert said["tokens_scored"] == 7 + 4 * 3
    assert said["model"] == str(toy_ir)
    assert said["text"]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (said["inference_precision"], said["kv_cache_precision"]) == ("f32", "f32")
    assert {"omz-gpt2", "openvino", "numpy", "tokenizers", "python"} <= said["versions"].keys()


def test_open_model_zoos_newlines_are_universal_and_no_others(evaluate, toy_ir, text):
    crlf = text.with_name("crlf.txt")
    crlf.write_bytes(TEXT.replace("\n", "\r\n").encode())
    plain, found = (said_by(evaluate("-m", toy_ir, "--text", path)) for path in (text, crlf))
    assert (found["tokens"], found["perplexity"]) == (plain["tokens"], plain["perplexity"])
    assert found["text"]["form"] == r"the whole file, each \r\n and \r read as \n"
    strided = said_by(evaluate("-m", toy_ir, "--text", crlf, "--method", "strided"))
    assert (strided["tokens"], strided["text"]["form"]) == (plain["tokens"] + 3, "the whole file")


@pytest.mark.parametrize("method", ["omz", "strided"])
def test_the_first_token_is_scored_after_the_start_token(evaluate, toy_ir, text, tokens, method):
    """With one window of all, both methods score every token of the text, as numpy does; off is said too."""
    short = text.with_name("short.txt")
    short.write_text(TEXT[:20], encoding="utf-8")
    count = len(GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt").encode(TEXT[:20]))
    arguments = ["-m", toy_ir, "--text", short, "--method", method, "--context", count + 1, "--add_start_token"]
    done = evaluate(*arguments)
    said = said_by(done)
    expected = losses([TOY.end_of_text_id, *tokens[:count]], count + 1)
    assert (said["start_token"], said["tokens"], said["tokens_scored"]) == (TOY.end_of_text_id, count, count)
    assert said["perplexity"] == pytest.approx(math.exp(np.mean(expected)), rel=1e-4)
    assert said["bits_per_byte"] == pytest.approx(np.sum(expected) / math.log(2) / 20, rel=1e-4)
    assert f", after the start token {TOY.end_of_text_id}\n" in done.stdout.decode()
    assert said_by(evaluate("-m", toy_ir, "--text", text))["start_token"] is None


def test_a_tokenizer_that_begins_texts_needs_no_start_token(evaluate, tmp_path, text):
    ir = TOY.ir(tmp_path)
    TOY.write_tokenizer_that_begins_texts(tmp_path)
    plain, started = (said_by(evaluate("-m", ir, "--text", text, *flag)) for flag in ([], ["--add_start_token"]))
    assert started["start_token"] is None
    assert (started["tokens"], started["perplexity"]) == (plain["tokens"], plain["perplexity"])


def test_a_model_without_a_start_token(evaluate, tmp_path, text):
    model = TOY.model(tmp_path)
    for fact in ("eos_token_ids", "bos_token_id"):
        model.set_rt_info("", ["omz_gpt2", fact])
    vocab, ir = tmp_path / "vocab.json", save(model, tmp_path / "x.xml")
    vocab.write_text(vocab.read_text().replace("<|endoftext|>", "<|other|>"))
    done = evaluate("-m", ir, "--text", text, "--add_start_token")
    line = f"{ir}: the vocabulary has no <|endoftext|> to start a text with\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", line)


def test_the_stride_is_half_of_the_context_unless_given(evaluate, toy_ir, text, tokens):
    said = said_by(evaluate("-m", toy_ir, "--text", text, "--method", "strided"))
    assert (said["context"], said["stride"]) == (16, 8)
    assert said["tokens_scored"] == len(tokens) - 1


def test_what_users_run_can_be_measured(evaluate, toy_ir, text):
    said = said_by(evaluate("-m", toy_ir, "--text", text, "--precision_hint", "device"))
    assert said["kv_cache_precision"] == "u8"


def test_gpt_2_mini_on_its_held_out_text(evaluate, mini_ir):
    """Its README: 35,465 tokens in 69 windows. tests/parity checks that the figure is right."""
    done = evaluate("-m", mini_ir, "--text", HELDOUT, "--limit", "2")
    said = said_by(done)
    assert (said["tokens"], said["windows_in_text"], said["windows"], said["context"]) == (35465, 69, 2, 512)
    assert done.stderr.decode().splitlines()[0].startswith("1 of 2 windows, ")


def test_without_words_there_is_no_perplexity_of_one(evaluate, toy_ir, tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(" \n" * 20, encoding="utf-8")
    done = evaluate("-m", toy_ir, "--text", path)
    assert said_by(done)["word_perplexity"] is None
    assert "word perplexity  inf" in done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("content", "arguments", "line"),
    [
        (b"", [], "{text}: is empty; expected a text to score"),
        (b"one\n\xff", [], "{text}: expected UTF-8, got 0xff as byte 1 of line 2 (byte 5 of the file)"),
        (
            b"xyz",
            [],
            "{text}: has 3 tokens; expected at least 16, a window of --method omz; give a smaller --context, or "
            "--method strided",
        ),
        (b"x", ["--method", "strided"], "{text}: has 1 tokens; expected at least 2, of which the second is scored"),
        (b"xyz", ["--context", "17"], "--context: expected 2 .. 16, the positions of {ir}, got 17"),
        (b"xyz", ["--context", "1"], "--context: expected 2 .. 16, the positions of {ir}, got 1"),
        (b"xyz", ["--stride", "4"], "--stride: belongs to --method strided; the method is omz"),
        (
            b"xyz",
            ["--method", "strided", "--context", "4", "--stride", "5"],
            "--stride: expected 1 .. 4, the tokens of a window, got 5",
        ),
        (b"xyz", ["-d", "TPU"], "device TPU: there is no such device; available: CPU"),
        (b"xyz", ["--vocab", "nowhere"], "nowhere: there is no such file; expected the model's vocab.json"),
    ],
)
def test_a_users_mistake_is_one_line(evaluate, toy_ir, text, content, arguments, line):
    text.write_bytes(content)
    done = evaluate("-m", toy_ir, "--text", text, *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == [line.format(text=text, ir=toy_ir)]


def test_a_tokenizer_of_another_model(evaluate, toy_ir, text, tmp_path):
    Toy(vocab_size=290).write_vocabulary(tmp_path)
    done = evaluate(
        "-m", toy_ir, "--text", text, "--vocab", tmp_path / "vocab.json", "--merges", tmp_path / "merges.txt"
    )
    assert (done.returncode, done.stdout) == (1, b"")
    message = f"{toy_ir}: has 300 tokens, its tokenizer 290; give the model's own files as vocab and merges\n"
    assert done.stderr.decode() == message


def test_a_data_set_that_was_not_downloaded(evaluate, toy_ir, tmp_path):
    done = evaluate("-m", toy_ir, "--dataset", "wikitext-2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    path = "datasets/wikitext-2/wikitext-2-raw/wiki.test.raw"
    message = "download it with `omz_data_downloader --name wikitext-2`, or give its folder with --data_dir"
    assert done.stderr.decode() == f"{path}: there is no such file; {message}\n"


def test_unusable_arguments(run, toy_ir):
    text = ["-m", toy_ir, "--text", HELDOUT]
    for arguments in (
        [],
        ["nothing"],
        ["perplexity"],
        ["perplexity", "-m", toy_ir],
        ["perplexity", *text, "--dataset", "wikitext-2"],
        ["perplexity", *text, "--batch", "0"],
        ["perplexity", *text, "--limit", "many"],
        ["perplexity", *text, "--method", "guess"],
    ):
        done = run("gpt2_evaluate", *arguments)
        assert done.returncode == 2
        own = b"gpt2_evaluate perplexity" if arguments[:1] == ["perplexity"] else b"gpt2_evaluate"
        assert done.stderr.startswith(own + b": error: ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing on Windows")
def test_ctrl_c_prints_what_there_is_and_says_so(interrupted, mini_ir):
    out = interrupted(
        "gpt2_evaluate", "perplexity", "-m", mini_ir, "--text", HELDOUT, "--batch", "1"
    )  # a tenth is done
    first, *_, last = out.splitlines()
    said = json.loads(last)
    assert said["interrupted"] is True
    assert 7 <= said["windows"] < 69
    assert said["tokens_scored"] == said["windows"] * 511
    assert first == f"interrupted: the figures are of {said['windows']} windows"


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_one_line_names_the_install(evaluate, toy_ir, text):
    done = evaluate("-m", toy_ir, "--text", text, "--with-transformers")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[-1].endswith("missing: pip install 'omz-gpt2[evaluate]'")


@pytest.mark.extras("transformers")
def test_beside_transformers(evaluate, toy_ir, text, tmp_path):
    checkpoint = TOY.write(tmp_path / "gpt2")
    arguments = ["-m", toy_ir, "--text", text, "--with-transformers"]
    done = evaluate(*arguments, "--checkpoint", checkpoint, env={"PYTHONWARNINGS": "default"})
    peer = said_by(done)["transformers"]
    assert min(peer["seconds"], peer["ours_seconds"], peer["times_faster"]) > 0
    assert peer["largest_difference"] < 1e-4
    assert done.stdout.decode().splitlines()[-2].startswith("transformers     ")
    shutil.rmtree(checkpoint)
    done = evaluate(*arguments, "--checkpoint", checkpoint)
    message = f"{checkpoint}: expected the checkpoint of the IR, with its config.json: give --checkpoint"
    assert (done.returncode, done.stderr.decode().splitlines()) == (1, [message])

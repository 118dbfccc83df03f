"""Damaged and foreign files at the commands: one line that says what, where and what to do; nothing lost."""

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from gpt2_text_prediction import Problem, TextGenerator
from support import DATA
from support.command import COMMANDS
from support.toy import Toy, without_attention_ops, write_safetensors
from support.unprivileged import without_power, world_readable_folder

PROMPT = "the rest"


@pytest.fixture
def downloaded(mini, tmp_path) -> Path:
    """Return a folder in which gpt-2-mini is downloaded and converted, to be damaged."""
    return shutil.copytree(mini, tmp_path / "public/gpt-2-mini").parent.parent


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def claim_more(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", path.stat().st_size) + path.read_bytes()[8:])


def claim_a_huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 100_000_000) + path.read_bytes()[8:])


def overlap(path: Path) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    next(iter(header.values() if "__metadata__" not in header else list(header.values())[1:]))["data_offsets"] = [0, 8]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def no_json(path: Path) -> None:
    path.write_text("no JSON")


def other_shape(path: Path) -> None:
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps(fields | {"n_embd": 128, "n_layer": 6}))


def other_architecture(path: Path) -> None:
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps(fields | {"model_type": "llama"}))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("model.safetensors", cut, "is not a complete .safetensors file: "),
        ("model.safetensors", claim_more, "is not a complete .safetensors file: "),
        ("model.safetensors", claim_a_huge_header, "is not a complete .safetensors file: "),
        ("model.safetensors", overlap, "is not a complete .safetensors file: "),
        ("model.safetensors", no_json, "is not a complete .safetensors file: "),
        ("model.safetensors", Path.unlink, "expected a downloaded file, got none; run: omz_downloader"),
        ("config.json", no_json, "is not JSON: "),
        ("config.json", other_architecture, '"model_type": expected "gpt2", got "llama"; '),
        ("config.json", other_shape, "does not have the weights that its config.json describes; missing: "),
    ],
)
def test_the_converter_refuses_a_damaged_checkpoint_and_keeps_the_ir(run, downloaded, name, damage, words):
    path = downloaded / "public/gpt-2-mini/gpt2" / name
    damage(path)
    before = snapshot(downloaded)
    done = run("omz_converter", "--name", "gpt-2-mini", cwd=downloaded)
    assert done.returncode == 1
    assert done.stdout.decode().endswith("\nFAILED:\ngpt-2-mini\n")
    (line,) = done.stderr.decode().splitlines()
    named = path if name == "config.json" and "weights" not in words else downloaded / "public/gpt-2-mini/gpt2"
    assert line.startswith(f"########## Error: {named}")
    assert words in line
    assert snapshot(downloaded) == before


NO_FILE = "expected a file, got a pipe or a device"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            "gpt2_text_prediction_demo -m IR --prompt_file /dev/zero",
            "--prompt_file: /dev/zero: is a device; expected a",
        ),
        (
            "gpt2_text_prediction_demo -m IR -i a --vocab PIPE --merges PIPE",
            "PIPE: there is no such file; expected the",
        ),
        ("gpt2_text_prediction_demo -m PIPE -i a", "PIPE: there is no such model file"),
        ("gpt2_evaluate perplexity -m IR --text PIPE", NO_FILE),
        ("gpt2_evaluate perplexity -m IR --text /dev/zero", NO_FILE),
        ("gpt2_evaluate lambada -m IR --data PIPE", NO_FILE),
        ("gpt2_evaluate compare IR IR --text PIPE", NO_FILE),
        ("gpt2_evaluate accuracy-check -c PIPE -m IR -s .", NO_FILE),
        ("gpt2_export -m PIPE -o out", "PIPE: there is no such model file"),
        ("gpt2_benchmark -m PIPE --engine_only", "PIPE: there is no such model file"),
        ("omz_downloader --list PIPE", NO_FILE),
        ("omz_converter --list /dev/zero", NO_FILE),
        ("omz_quantizer --model PIPE --dry_run", "expected the .xml of an IR, got none"),
    ],
)
def test_a_pipe_or_device_where_a_file_should_be_is_not_waited_for(run, mini_ir, tmp_path, command, line):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = {"IR": mini_ir, "PIPE": pipe}
    name, *arguments = [words.get(word, word) for word in command.split()]
    done = run(name, *arguments, cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [pipe])
    assert line.replace("PIPE", str(pipe)) in done.stderr.decode().splitlines()[-1]


def test_verify_notices_a_changed_byte(run, downloaded):
    path = downloaded / "public/gpt-2-mini/gpt2/merges.txt"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    done = run("omz_converter", "--name", "gpt-2-mini", "--verify", cwd=downloaded)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f'########## Error: Hash mismatch for "{path}"\n')


def test_a_model_whose_weights_are_no_numbers(run, tmp_path):
    toy = Toy()
    checkpoint = toy.write(tmp_path / "public/gpt-2-mini/gpt2")
    tensors = toy.tensors
    tensors["ln_f.weight"] = ("F32", np.full(toy.n_embd, np.nan, np.float32))
    write_safetensors(checkpoint / "model.safetensors", tensors)
    assert run("omz_converter", "--name", "gpt-2-mini", cwd=tmp_path).returncode == 0
    ir = tmp_path / "public/gpt-2-mini/FP16/gpt-2-mini.xml"
    done = run("gpt2_text_prediction_demo", "-m", ir, "-i", PROMPT)
    assert done.returncode == 1
    assert the_error(done) == (
        "prompt 1: the model's logits hold NaN or infinity: its weights are damaged, or overflow at this precision"
    )
    assert done.stdout.decode() == f"{PROMPT}\n"


def the_error(done) -> str:
    lines = done.stderr.decode().splitlines()
    (line,) = (line for line in lines if not line.startswith("[ INFO ] "))
    return line.removeprefix("[ ERROR ] ")


def two_inputs() -> ov.Model:
    one, two = (ops.parameter([-1, -1], np.int64, name=name) for name in ("a", "b"))
    return ov.Model([ops.result(ops.add(one, two))], [one, two], "two")


def an_image_model() -> ov.Model:
    image = ops.parameter([1, 3, 8, 8], np.float32, name="image")
    return ov.Model([ops.result(ops.relu(image))], [image], "image")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, "expected a model with one input and one output, got 2 and 1; "),
        (an_image_model, "expected token ids [B, L] in and logits [B, L, vocabulary] out, got f32 [1,3,8,8] and "),
    ],
)
def test_the_demo_refuses_another_kind_of_model(run, downloaded, make, words):
    ir = downloaded / "public/gpt-2-mini/FP16/other.xml"
    ov.save_model(make(), ir, compress_to_fp16=False)
    done = run("gpt2_text_prediction_demo", "-m", ir, "-i", PROMPT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert the_error(done).startswith(f"{ir}: {words}")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("vocab.json", b"{", "is not JSON: "),
        ("vocab.json", b"[]", "expected a JSON object of tokens and their ids"),
        ("vocab.json", b'{"a": 0}', "expected a byte-level vocabulary with a token for each of the 256 bytes"),
        ("merges.txt", b"#version: 0.2\nq \xff\n", "expected UTF-8, got the byte 0xff; "),
        ("merges.txt", b"#version: 0.2\nno such tokens\n", "line 2: does not fit vocab.json: 'no such tokens'; "),
        ("merges.txt", b"", "does not fit vocab.json: does not make 7935 of its tokens; "),
    ],
)
def test_the_demo_refuses_a_broken_vocabulary(run, downloaded, name, content, words):
    folder = downloaded / "public/gpt-2-mini/FP16"
    (folder / name).write_bytes(content)
    files = ["-v", folder / "vocab.json", "--merges", folder / "merges.txt"]
    done = run("gpt2_text_prediction_demo", "-m", folder / "gpt-2-mini.xml", *files, "-i", PROMPT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert the_error(done).startswith(f"{folder / name}: {words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is no tokenizer that can be used: EOF while parsing an object at line 1 column 1; "),
        (b"[]", "is no tokenizer that can be used: "),
        (b'{"version": "1.0", "model": {}}', "is no tokenizer that can be used: "),
        (b'"\xff"', "expected UTF-8, got the byte 0xff; "),
    ],
)
def test_the_demo_refuses_a_broken_tokenizer_json(run, downloaded, content, words):
    folder = downloaded / "public/gpt-2-mini/FP16"
    (folder / "tokenizer.json").write_bytes(content)
    done = run("gpt2_text_prediction_demo", "-m", folder / "gpt-2-mini.xml", "-i", PROMPT)
    assert (done.returncode, done.stdout) == (1, b"")
    line = the_error(done)
    assert line.startswith(f"{folder / 'tokenizer.json'}: {words}")
    assert line.endswith("; convert the model again")


@pytest.mark.parametrize("device", ["HETERO:NOPE", "AUTO:NOPE", "CPU.7", "MULTI:"])
def test_a_device_that_fails_while_compiling_is_one_line(run, mini_ir, device):
    done = run("gpt2_text_prediction_demo", "-m", mini_ir, "-i", PROMPT, "-d", device)
    assert (done.returncode, done.stdout) == (1, b"")
    assert the_error(done).startswith(f"{mini_ir}: cannot be compiled for {device}: ")


def test_a_device_that_fails_at_its_first_request_is_one_line(run, mini_ir):
    done = run("gpt2_text_prediction_demo", "-m", mini_ir, "-i", PROMPT, "-d", "BATCH:CPU")
    assert (done.returncode, done.stdout) == (1, b"")
    assert the_error(done).startswith(f"{mini_ir}: cannot be run on BATCH:CPU: ")


def test_a_prompt_of_five_megabytes_is_refused_at_once(run, mini_ir):
    done = run("gpt2_text_prediction_demo", "-m", mini_ir, stdin=b"a" * 5_000_000)
    assert the_error(done).startswith("line 1: the prompt has 5000000 bytes; at most 512 tokens fit: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["omz_downloader", "omz_converter"])
def test_a_full_disk_behind_stdout_is_one_line(command):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMANDS / command, "--print_all"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "stdout: cannot be written: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("gpt2_evaluate", ["perplexity", "--text", DATA / "gpt-2-mini/heldout.txt", "--limit", "3", "-m"]),
        ("gpt2_benchmark", ["--engine_only", "-p", "4", "-M", "2", "-n", "1", "-N", "0", "-m"]),
    ],
)
def test_a_full_disk_behind_stderr_costs_the_talk_alone(mini_ir, command, options):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([COMMANDS / command, *options, mini_ir], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])


def test_files_that_may_not_be_read_are_one_line(mini_ir):
    with world_readable_folder() as folder:
        ir = Path(shutil.copytree(mini_ir.parent, folder / "FP16")) / mini_ir.name
        ir.chmod(0)
        with without_power(), pytest.raises(Problem, match=f"{ir}: cannot be read: Permission denied"):
            TextGenerator(ir)


def test_an_ir_without_a_cache_runs_and_says_so_once(run, downloaded):
    folder = downloaded / "public/gpt-2-mini/FP16"
    model = without_attention_ops(ov.Core().read_model(folder / "gpt-2-mini.xml"))
    ov.save_model(model, folder / "plain.xml", compress_to_fp16=False)
    arguments = ["-i", "The President of the", "-i", "The whale", "--temperature", 0, "--max_sample_token_num", 6]
    plain = run("gpt2_text_prediction_demo", "-m", folder / "plain.xml", *arguments)
    cached = run("gpt2_text_prediction_demo", "-m", folder / "gpt-2-mini.xml", *arguments)
    assert plain.stdout == cached.stdout
    assert plain.stderr.decode().count("cannot be given a key/value cache") == 1
    assert b"cannot be given" not in cached.stderr

"""The main job as a user does it: descriptor, downloader, converter, demo; every transcript whole."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from safetensors.numpy import load_file

from gpt2_text_prediction import TextGenerator
from omz_model_tools.cli.converter import converter
from omz_model_tools.cli.downloader import downloader
from support import ROOT, numpy_gpt2
from support.hub import Answer, Hub
from support.model_tree import descriptor, file_entry, write_model
from support.toy import Toy

FILES = ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
HEADING = "################|| Downloading gpt-2-mini ||################\n\n"


def test_the_embedded_model_from_its_name_to_its_text(run, tmp_path):
    folder = tmp_path / "public/gpt-2-mini"
    download = run("omz_downloader", "--name", "gpt-2-mini", cwd=tmp_path)
    downloading = "".join(f"========== Downloading {folder}/gpt2/{name}\n\n" for name in FILES)
    assert (download.returncode, download.stdout.decode(), download.stderr) == (0, HEADING + downloading, b"")

    again = run("omz_downloader", "--name", "gpt-2-mini", cwd=tmp_path)
    retained = "".join(
        f"========== Retained {folder}/gpt2/{name} (already there, checksum matches)\n\n" for name in FILES
    )
    assert (again.returncode, again.stdout.decode(), again.stderr) == (0, HEADING + retained, b"")

    convert = run("omz_converter", "--name", "gpt-2-mini", cwd=tmp_path)
    converting = "".join(
        f"========== Converting gpt-2-mini to IR ({precision})\n"
        f"Conversion recipe: gpt2 ({folder}/gpt2) -> {folder}/{precision}/gpt-2-mini.xml\n\n"
        for precision in ("FP16", "FP32")
    )
    assert (convert.returncode, convert.stdout.decode(), convert.stderr) == (0, converting, b"")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(
        [f"gpt2/{name}" for name in FILES]
        + [
            f"{p}/{name}"
            for p in ("FP16", "FP32")
            for name in ("gpt-2-mini.bin", "gpt-2-mini.xml", "tokenizer.json", *FILES[1::2])
        ]
    )

    demo = run(
        "gpt2_text_prediction_demo", "-m", folder / "FP16/gpt-2-mini.xml", "-i", "The President of the",
        "--temperature", "0", "--max_sample_token_num", "4",
    )  # fmt: skip
    assert demo.returncode == 0
    assert (
        demo.stdout.decode() == "The President of the" + greedy_by_the_oracle(folder, "The President of the", 4) + "\n"
    )


def greedy_by_the_oracle(folder: Path, prompt: str, count: int) -> str:
    """Continue a prompt by the numpy GPT-2, straight from the downloaded weights."""
    state = {name.removeprefix("transformer."): v for name, v in load_file(folder / "gpt2/model.safetensors").items()}
    config = json.loads((folder / "gpt2/config.json").read_bytes())
    with TextGenerator(folder / "FP32/gpt-2-mini.xml") as generator:
        tokens = generator.tokenizer.encode(prompt)
        new = []
        for _ in range(count):
            new.append(int(np.argmax(numpy_gpt2.logits([*tokens, *new], state, config["n_head"])[-1])))
        return generator.tokenizer.decode(new)


def test_a_model_from_a_hub_whose_first_source_is_gone(run, tmp_path, capsys):
    toy = Toy(n_layer=3, n_head=3, n_embd=24, n_positions=32, dtype="BF16", prefix="transformer.", masks=True)
    checkpoint = toy.write(tmp_path / "checkpoint")
    with Hub() as hub:
        entries = []
        for path in sorted(checkpoint.iterdir()):
            gone, there = hub.url(f"gone/{path.name}"), hub.serve(path.name, Answer(path.read_bytes()))
            entries.append(file_entry(f"gpt2/{path.name}", path.read_bytes(), [gone, there]))
        write_model(tmp_path / "models", "toy", descriptor(*entries, recipe="gpt2"))
        assert downloader(["--name", "toy", "-o", str(tmp_path)], [tmp_path / "models"]) == 0
        asked = len(hub.requests)
        assert downloader(["--name", "toy", "-o", str(tmp_path)], [tmp_path / "models"]) == 0
        assert len(hub.requests) == asked == 2 * len(FILES)
    assert converter(["--name", "toy", "-d", str(tmp_path), "--precisions", "FP32"], [tmp_path / "models"]) == 0
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(" -> ")[0].rpartition("/")[2] for line in errors] == FILES  # the sources that are gone

    ir = tmp_path / "public/toy/FP32/toy.xml"
    prompt = "the rest"
    with TextGenerator(ir) as generator:
        tokens = generator.tokenizer.encode(prompt)
        expected = generator.tokenizer.decode(toy.greedy(tokens, 3))
    demo = run("gpt2_text_prediction_demo", "-m", ir, "-i", prompt, "--top_k", 1, "--max_sample_token_num", 3)
    assert demo.stdout.decode() == f"{prompt}{expected}\n"


def test_the_demo_runs_from_a_bare_checkout(mini_ir, tmp_path):
    """Only the script's own folder is imported from: the installed packages of ours are out of reach."""
    shutil.copytree(ROOT / "demos/gpt2_text_prediction_demo", tmp_path / "demo")
    block = (
        "import sys, runpy\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('omz_models', 'omz_model_tools', 'gpt2_recipe', 'gpt2_tools'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path = [Refuse(), *(f for f in sys.meta_path if 'editable' not in repr(f))]\n"
        "script = sys.argv.pop(1)\n"
        "sys.path[0] = script.rpartition('/')[0]\n"
        "runpy.run_path(script, run_name='__main__')\n"
    )
    script = tmp_path / "demo/python/gpt2_text_prediction_demo.py"
    command = [sys.executable, "-W", "error", "-c", block, script, "-m", mini_ir, "-i", "The poem was written by"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The poem was written by")


def test_the_ir_names_the_weights_it_was_made_of_unless_they_are_others(run, mini, tmp_path):
    def source(folder: Path) -> str | None:
        model = ov.Core().read_model(folder / "FP32/gpt-2-mini.xml")
        there = model.has_rt_info(["omz_gpt2", "source_sha256"])
        return model.get_rt_info(["omz_gpt2", "source_sha256"]).astype(str) if there else None

    assert source(mini) == hashlib.sha256((mini / "gpt2/model.safetensors").read_bytes()).hexdigest()
    Toy().write(tmp_path / "public/gpt-2-mini/gpt2")
    assert run("omz_converter", "--name", "gpt-2-mini", cwd=tmp_path).returncode == 0
    assert source(tmp_path / "public/gpt-2-mini") is None


def test_every_file_of_the_embedded_model_is_the_one_of_its_descriptor(mini):
    text = (ROOT / "models/public/gpt-2-mini/model.yml").read_text(encoding="utf-8")
    for name in FILES:
        assert hashlib.sha256((mini / "gpt2" / name).read_bytes()).hexdigest() in text


def test_a_companion_that_was_converted_is_readable_by_all(mini):
    for path in (mini / "FP16").iterdir():
        assert path.stat().st_mode & 0o444 == 0o444 & ~_umask(), path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("command", ["omz_downloader", "omz_converter"])
def test_print_all_lists_the_models(run, command):
    names = b"distilgpt2\ngpt-2\ngpt-2-large\ngpt-2-medium\ngpt-2-mini\ngpt-2-xl\ngpt2-10\ngpt2-lm-head-10\n"
    done = run(command, "--print_all")
    assert (done.returncode, done.stdout, done.stderr) == (0, names, b"")

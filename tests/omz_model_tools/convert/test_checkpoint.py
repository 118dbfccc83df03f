"""omz_converter --checkpoint: from a user's folder to IRs that the demo runs; whole transcripts, and refusals."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from support import numpy_gpt2
from support.toy import EXACT, Toy, assert_close, write_safetensors

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

TOY = Toy(dtype="BF16", prefix="transformer.")


def announced(folder: Path, out: Path, *precisions: str, name: str = "", mark: str = "") -> str:
    name = name or folder.name
    return "".join(
        f"========== {mark}Converting {name} to IR ({precision})\n"
        f"Conversion recipe: gpt2 ({folder}) -> {out}/{precision}/{name}.xml\n\n"
        for precision in precisions
    )


def answer(xml: Path, ids: list[int]) -> Any:
    return openvino.compile_model(xml, "CPU", EXACT)([np.array([ids])])[0][0]


def said(done: "subprocess.CompletedProcess[bytes]") -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_both_precisions_and_the_demo_runs(run: Run, tmp_path: Path) -> None:
    folder, out = TOY.write(tmp_path / "my-gpt2"), tmp_path / "out"
    assert said(run("omz_converter", "--checkpoint", folder, "-o", out)) == (
        0,
        announced(folder, out, "FP16", "FP32"),
        "",
    )
    names = ["merges.txt", "my-gpt2.bin", "my-gpt2.xml", "tokenizer.json", "vocab.json"]
    for precision in ("FP16", "FP32"):
        assert sorted(path.name for path in (out / precision).iterdir()) == names
    assert_close(answer(out / "FP32/my-gpt2.xml", [3, 1, 4]), TOY.logits([3, 1, 4]))
    demo = ["-m", out / "FP32/my-gpt2.xml", "-i", "the rest", "--top_k", 1, "--max_sample_token_num", 3]
    done = run("gpt2_text_prediction_demo", *demo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"the rest")


def test_a_model_whose_tokenizer_is_tokenizer_json_with_a_token_added(run: Run, tmp_path: Path) -> None:
    """As transformers 5 saves a fine-tuned model whose embedding was resized, then padded."""
    toy = replace(TOY, vocab_size=304, eos_token_id=299)
    folder, out = toy.write(tmp_path / "tuned"), tmp_path / "out"
    vocab = json.loads((folder / "vocab.json").read_bytes())
    named = {token: i for token, i in vocab.items() if i < 300}
    names = {token: i for i, token in enumerate(sorted(named, key=lambda token: named[token]))}
    merges = [line.split(" ") for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    merges = [pair for pair in merges if "".join(pair) in names]
    fields = {
        "added_tokens": [{"id": 300, "content": "<|startoftext|>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {"type": "BPE", "vocab": names, "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    code, _, err = said(run("omz_converter", "--checkpoint", folder, "-o", out, "--precisions", "FP32"))
    assert (code, err) == (0, "")
    demo = ["-m", out / "FP32/tuned.xml", "-i", "the rest", "--top_k", 1, "--max_sample_token_num", 3]
    done = run("gpt2_text_prediction_demo", *demo)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "toy",
    [
        Toy(n_layer=3, inverse_layer=True),
        Toy(unscaled=True, activation="quick_gelu"),
        *(Toy(n_layer=1, activation=name) for name in ("gelu_10", "relu", "relu2", "silu", "tanh", "mish")),
    ],
    ids=str,
)
def test_models_of_other_settings_run_in_the_engine(run: Run, tmp_path: Path, toy: Toy) -> None:
    done = run("omz_converter", "--checkpoint", toy.write(tmp_path / "my"), "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    engine = load_engine(tmp_path / "out/FP32/my.xml", "CPU", EXACT)
    cache, new, found = SequenceCache(), [5, 6, 7], []
    for _ in range(6):
        (logits,) = engine.step([StepInput(cache, new)])
        new = [int(logits[0].argmax())]
        found += new
    assert found == toy.greedy([5, 6, 7], 6)


def test_an_adapter_is_merged_into_the_checkpoint_or_into_the_base_that_it_names(run: Run, tmp_path: Path) -> None:
    folder, out = TOY.write(tmp_path / "base"), tmp_path / "out"
    adapter = write_adapter(tmp_path / "tuned", folder)
    state = TOY.state | {"h.0.mlp.c_fc.weight": TOY.state["h.0.mlp.c_fc.weight"] + 2}
    expected = numpy_gpt2.logits([3, 1, 4], state, TOY.n_head)
    for source in (["--checkpoint", folder, "--peft_adapter", adapter], ["--peft_adapter", adapter]):
        done = run("omz_converter", *source, "-o", out, "--precisions", "FP32")
        assert done.returncode == 0, done.stderr
        assert_close(answer(out / "FP32/tuned.xml", [3, 1, 4]), expected)
    done = run("omz_converter", "--checkpoint", folder, "--peft_adapter", adapter, "-o", out, "--dry_run")
    line = f"Conversion recipe: gpt2 ({folder} + {adapter}) -> {out}/FP16/tuned.xml\n"
    assert line in done.stdout.decode()


def test_a_folder_that_holds_no_adapter(run: Run, tmp_path: Path) -> None:
    TOY.write(tmp_path / "my")
    line = "my/adapter_config.json: cannot be read: No such file or directory\n"
    arguments = ["--checkpoint", "my", "--peft_adapter", "my", "-o", "out"]
    assert said(run("omz_converter", *arguments, cwd=tmp_path)) == (1, "", line)


def write_adapter(folder: Path, base: Path) -> Path:
    """Write an adapter that adds 2 to each weight of the first block's c_fc; return its folder."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = {"lora_A": (1, TOY.n_embd), "lora_B": (4 * TOY.n_embd, 1)}
    tensors = {
        f"base_model.model.transformer.h.0.mlp.c_fc.{name}.weight": ("F32", np.ones(shape, np.float32))
        for name, shape in shapes.items()
    }
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder


def test_a_folder_without_a_tokenizer_is_converted_with_a_warning(run: Run, tmp_path: Path) -> None:
    folder, out = TOY.write(tmp_path / "bare"), tmp_path / "out"
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    assert said(run("omz_converter", "--checkpoint", folder, "-o", out, "--precisions", "FP16")) == (
        0,
        announced(folder, out, "FP16"),
        f"########## Warning: {folder}: holds neither vocab.json and merges.txt nor a tokenizer.json; "
        "the IR has no tokenizer beside it, so the demo needs --vocab and --merges\n",
    )


def test_the_current_folder_and_a_name_of_its_own(run: Run, tmp_path: Path) -> None:
    folder = TOY.write(tmp_path / "here")
    done = run("omz_converter", "--checkpoint", ".", "-o", "ir", "--precisions", "FP16", cwd=folder)
    assert said(done) == (0, announced(Path(), Path("ir"), "FP16", name="here"), "")
    done = run("omz_converter", "--checkpoint", ".", "-o", "x", "--model_name", "v1.5", "--recipe", "gpt2", cwd=folder)
    assert done.returncode == 0
    assert sorted(path.name for path in (folder / "x/FP16").iterdir())[2:4] == ["v1.5.bin", "v1.5.xml"]


def test_a_link_gives_its_own_name(run: Run, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(TOY.write(tmp_path / "step-1000"))
    done = run("omz_converter", "--checkpoint", link, "-o", "ir", "--dry_run", "--precisions", "FP16", cwd=tmp_path)
    assert said(done) == (0, announced(link, Path("ir"), "FP16", name="latest", mark="(DRY RUN) "), "")


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    folder, out = TOY.write(tmp_path / "my"), tmp_path / "out"
    expected = announced(folder, out, "FP16", "FP32", mark="(DRY RUN) ")
    assert said(run("omz_converter", "--checkpoint", folder, "-o", out, "--dry_run")) == (0, expected, "")
    assert not out.exists()


def test_another_architecture_is_named(run: Run, tmp_path: Path) -> None:
    folder = TOY.write(tmp_path / "llama")
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    assert said(run("omz_converter", "--checkpoint", folder, "-o", tmp_path / "out")) == (
        1,
        "",
        f'{path}: "model_type": expected "gpt2", got "llama"; this recipe only converts GPT-2\n',
    )
    assert [*(tmp_path / "out").iterdir()] == []


def test_what_fails_leaves_the_ir_that_was_there(run: Run, tmp_path: Path) -> None:
    folder, out = TOY.write(tmp_path / "my"), tmp_path / "out"
    command = ["omz_converter", "--checkpoint", folder, "-o", out, "--precisions", "FP16"]
    assert run(*command).returncode == 0
    before = {path.name: path.read_bytes() for path in (out / "FP16").iterdir()}
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run(*command)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"{weights}: is not a complete .safetensors file")
    assert done.stderr.count(b"\n") == 1
    assert {path.name: path.read_bytes() for path in (out / "FP16").iterdir()} == before
    assert [path.name for path in out.iterdir()] == ["FP16"]


def test_two_models_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    """Their tokenizers have the same names."""
    one, two, out = TOY.write(tmp_path / "one"), TOY.write(tmp_path / "two"), tmp_path / "out"
    assert run("omz_converter", "--checkpoint", one, "-o", out).returncode == 0
    line = f"{out}/FP16: expected no IR but two.xml, got one.xml; give another -o, or --model_name one to replace it\n"
    assert said(run("omz_converter", "--checkpoint", two, "-o", out)) == (1, "", line)
    assert run("omz_converter", "--checkpoint", two, "-o", out, "--model_name", "one").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--checkpoint", "none", "-o", "out"], "none: expected the folder of a checkpoint, got none"),
        (
            ["--checkpoint", "file", "-o", "out"],
            "file: expected the folder of a checkpoint, got a file; give the folder that it is in",
        ),
        (["--peft_adapter", "none", "-o", "out"], "none: expected the folder of a checkpoint, got none"),
        (
            ["--checkpoint", "my", "--peft_adapter", "none", "-o", "out"],
            "none: expected the folder of a peft adapter, got none",
        ),
        (
            ["--checkpoint", "my", "-o", "out", "--model_name", "a/b"],
            "--model_name: expected a name of a file without its suffix, got 'a/b'",
        ),
        (
            ["--checkpoint", "my", "-o", "out", "--model_name", ".."],
            "--model_name: expected a name of a file without its suffix, got '..'",
        ),
        (
            ["--checkpoint", "my", "-o", "out", "--precisions", "FP16,FP16-INT8"],
            "--precisions: expected FP16, FP32 for a checkpoint, got FP16-INT8; convert it to FP16 and run: "
            "omz_quantizer --model out/FP16/my.xml",
        ),
        (
            ["--checkpoint", "my", "-o", "out", "--recipe", "gpt3"],
            "\"recipe\": expected one that is installed (gpt2), got 'gpt3'",
        ),
        (["--checkpoint", "my", "-o", "file"], "file: File exists"),
    ],
)
def test_a_users_mistake_is_one_line(run: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    TOY.write(tmp_path / "my")
    (tmp_path / "file").write_text("mine")
    assert said(run("omz_converter", *arguments, cwd=tmp_path)) == (1, "", f"{line}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--checkpoint", "my"], "--checkpoint needs -o/--output_dir"),
        (["--peft_adapter", "my"], "--peft_adapter needs -o/--output_dir"),
        (["--peft_adapter", "my", "-o", "out", "--all"], "--all cannot be used with --peft_adapter"),
        (["--checkpoint", "my", "-o", "out", "--all"], "--all cannot be used with --checkpoint"),
        (["--checkpoint", "my", "-o", "out", "--name", "gpt-2"], "--name cannot be used with --checkpoint"),
        (["--checkpoint", "my", "-o", "out", "--verify"], "--verify cannot be used with --checkpoint"),
        (["--all", "--model_name", "x"], "--model_name cannot be used without --checkpoint or --hub"),
        (["--all", "--recipe", "gpt2"], "--recipe cannot be used without --checkpoint or --hub"),
    ],
)
def test_what_argparse_refuses(run: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    code, out, err = said(run("omz_converter", *arguments, cwd=tmp_path))
    assert (code, out, err.splitlines()[-1]) == (2, "", f"omz_converter: error: {line}")

"""A folder that is no checkpoint is named, with the way on; each as the tool that writes it lays it out."""

import json
from functools import partial
from pathlib import Path

import pytest

from gpt2_recipe import Problem, convert
from support.refusal import refused
from support.toy import Toy

refusal = partial(refused, Problem, convert)
GPT2 = json.dumps({"model_type": "gpt2"})
REVISION, OLDER = "607a30d783dfa663caf39e06633721c8d4cfcd7e", "07a30d783dfa663caf39e06633721c8d4cfcd7e6"


def write(folder: Path, *names: str, **files: str | bytes) -> Path:
    """Write files, empty or with content, and folders where a name ends in /; return the folder."""
    folder.mkdir(exist_ok=True)
    for name, content in {**dict.fromkeys(names, ""), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize(
    ("names", "below"),
    [
        (("checkpoint-500/config.json", "checkpoint-1500/config.json", "runs/x"), "checkpoint-1500"),
        (("checkpoint-9/adapter_config.json", "checkpoint-10/adapter_config.json"), "checkpoint-10"),
        (("checkpoint/run1/hparams.json", "models/124M/hparams.json", "samples/"), "checkpoint/run1"),
        (("run1/hparams.json", "run1/checkpoint"), "run1"),
        (("gpt2/config.json", "FP16/gpt-2.xml"), "gpt2"),
        (("config.json", "checkpoint-500/config.json", "checkpoint-60/config.json"), "checkpoint-500"),
        (("out-shakespeare/ckpt.pt", "model.py", "train.py"), "out-shakespeare"),
        ((f"snapshots/{REVISION}/config.json", f"snapshots/{OLDER}/config.json"), f"snapshots/{REVISION}"),
        ((f"models--o--n/snapshots/{REVISION}/config.json", "version.txt"), f"models--o--n/snapshots/{REVISION}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_above_a_checkpoint_names_it(tmp_path, names, below):
    write(tmp_path / "refs", main=REVISION)
    folder = write(tmp_path, **dict.fromkeys(names, GPT2))
    assert refusal(folder) == f"{folder}: holds no checkpoint itself; give --checkpoint {folder / below}"


FOREIGN = {
    "gpt2.Q4_K_M.gguf": "a GGUF file of llama.cpp; convert the checkpoint that it was made from",
    "adapter_model.safetensors": "an adapter without its adapter_config.json; fetch that too",
    "tf_model.h5": "weights of TensorFlow; load it with transformers 4, by GPT2LMHeadModel.from_pretrained(DIR, "
    "from_tf=True), and save_pretrained it",
    "flax_model.msgpack": "weights of Flax; load it with transformers 4, by GPT2LMHeadModel.from_pretrained(DIR, "
    "from_flax=True), and save_pretrained it",
    "global_step500/": "a checkpoint of DeepSpeed in parts; "
    "run `python zero_to_fp32.py . . --safe_serialization` there",
    "pytorch_model_fsdp_0/": "a checkpoint of FSDP in parts; "
    "run `accelerate merge-weights pytorch_model_fsdp_0 .` there",
    "__0_0.distcp": "a part of a checkpoint of FSDP; run `accelerate merge-weights . OUT` there",
    "my-gpt2.xml": "an IR of OpenVINO already; give it to the demo with -m",
    "decoder_model.onnx": "a model in ONNX; convert the checkpoint that it was made from",
    "model.ckpt.index": "weights of OpenAI's code without their hparams.json; fetch that too",
}


@pytest.mark.parametrize("config", [True, False], ids=["config.json", "none"])
@pytest.mark.parametrize("name", FOREIGN)
def test_weights_that_are_not_read_are_named(tmp_path, name, config):
    folder = write(tmp_path, name, "README.md", **({"config.json": GPT2} if config else {}))
    assert refusal(folder) == f"{folder}: holds {name.removesuffix('/')}, {FOREIGN[name]}"


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("model.fp16.safetensors", "model.safetensors"),
        ("consolidated.safetensors", "model.safetensors"),
        ("pytorch_model.fp16.bin", "pytorch_model.bin"),
    ],
)
def test_one_file_of_another_name_may_be_renamed(tmp_path, name, usual):
    folder = write(tmp_path, name, **{"config.json": GPT2})
    assert refusal(folder) == f"{folder}: holds {name}; if these are its weights, rename it to {usual}"


def test_llm_cs_weights_are_told_by_their_first_bytes(tmp_path):
    other = (20240520).to_bytes(4, "little")  # of its tokens
    folder = write(
        tmp_path, "log/", **{"a.bin": other, "gpt2_124M.bin": (20240326).to_bytes(4, "little") + bytes(1020)}
    )
    assert refusal(folder) == (
        f"{folder}: holds gpt2_124M.bin, weights of llm.c; "
        "run its `python dev/eval/export_hf.py --input gpt2_124M.bin --output OUT`"
    )


def test_an_empty_folder_and_one_of_something_else(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: is empty"
    write(tmp_path, *"gfedcba")
    assert refusal(tmp_path) == f"{tmp_path}: holds no checkpoint, but a, b, c, d, e, f and 1 more"


def test_weights_without_their_config_json(tmp_path):
    Toy().write(tmp_path)
    (tmp_path / "config.json").unlink()
    assert refusal(tmp_path, begins=lambda folder: folder / "config.json").endswith(
        "config.json: cannot be read: there is no such file; put the model's own beside its model.safetensors"
    )


def test_a_config_json_alone(tmp_path):
    write(tmp_path, **{"config.json": GPT2})
    assert "model.safetensors: cannot be read: there is no such file" in refusal(tmp_path)

"""nanoGPT's ckpt.pt gives the model that the same weights give in Hugging Face's form."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gpt2_recipe import Problem, convert
from support.refusal import refused
from support.toy import Toy, assert_close, compiled

pytestmark = pytest.mark.extras("torch")

TOY = Toy(n_layer=3, n_head=3, activation="gelu")
LINEAR = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
refusal = partial(refused, Problem, convert, begins=lambda folder: folder / "ckpt.pt")


@pytest.fixture(scope="module")
def torch():
    import torch  # noqa: PLC0415

    return torch


def write(folder: Path, torch, toy: Toy = TOY, prefix: str = "", bias: bool = True, **changed) -> Path:
    """Write what nanoGPT's train.py saves, as its model.py names and shapes it; return the folder."""
    weights = {f"{prefix}transformer.{name}": torch.tensor(values) for name, values in toy.state.items()}
    weights = {name: values.T.contiguous() if name.endswith(LINEAR) else values for name, values in weights.items()}
    weights = {name: values for name, values in weights.items() if bias or not name.endswith(".bias")}
    weights[f"{prefix}lm_head.weight"] = weights[f"{prefix}transformer.wte.weight"]
    weights[f"{prefix}transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)  # where there is no flash attention
    args = {"n_layer": toy.n_layer, "n_head": toy.n_head, "n_embd": toy.n_embd, "block_size": toy.n_positions}
    args |= {"vocab_size": toy.vocab_size, "bias": bias, "dropout": 0.0, **changed}
    saved = {"model": weights, "model_args": args, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    folder.mkdir(exist_ok=True)
    torch.save(saved | {"iter_num": 7, "best_val_loss": torch.tensor(2.5), "config": {"lr": 1.0}}, folder / "ckpt.pt")
    return folder


def check(folder: Path, toy: Toy) -> None:
    assert_close(compiled(convert(folder).model)([np.array([[3, 1, 4]])])[0][0], toy.logits([3, 1, 4]))


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_its_names_and_its_transposed_weights(tmp_path, torch, prefix):
    check(write(tmp_path, torch, prefix=prefix), TOY)


def test_layers_without_a_bias(tmp_path, torch):
    toy = replace(TOY, seed=971)  # of no other test: its weights are changed
    for name, values in toy.state.items():
        if name.endswith(".bias"):
            values[:] = 0  # what the oracle adds
    check(write(tmp_path, torch, toy, bias=False), toy)


def test_gpt2s_vocabulary_has_its_end_of_text(tmp_path, torch):
    facts = []
    for vocab_size in (50304, 65):
        toy = Toy(n_layer=1, n_embd=2, n_head=1, n_positions=2, vocab_size=vocab_size)
        facts.append(convert(write(tmp_path, torch, toy)).facts["omz_gpt2"])
    assert [fact.get("eos_token_ids") for fact in facts] == ["50256", None]
    assert [fact.get("bos_token_id") for fact in facts] == [50256, None]
    assert [fact["n_positions"] for fact in facts] == [2, 2]


@pytest.mark.parametrize("bias", [True, False])
def test_its_weights_alone_beside_a_config_json(tmp_path, torch, bias):
    toy = replace(TOY, seed=972 + bias)
    if not bias:
        for name, values in toy.state.items():
            if name.endswith(".bias"):
                values[:] = 0
    saved = torch.load(write(tmp_path, torch, toy, bias=bias) / "ckpt.pt")
    (tmp_path / "ckpt.pt").unlink()
    torch.save(saved["model"], tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(toy.config))
    check(tmp_path, toy)


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({"block_size": None}, '"block_size": expected a positive integer, got None'),
        ({"n_layer": 2}, "extra: h.2."),
        ({"n_head": 5}, '"n_head": expected a divisor of n_embd 12, got 5'),
    ],
)
def test_settings_that_are_broken_are_refused(tmp_path, torch, changed, about):
    assert about in refusal(write(tmp_path, torch, **changed))


def test_a_missing_bias_is_named_where_there_are_some(tmp_path, torch):
    folder = write(tmp_path, torch)
    saved = torch.load(folder / "ckpt.pt")
    del saved["model"]["transformer.h.1.ln_1.bias"]
    torch.save(saved, folder / "ckpt.pt")
    assert "missing: h.1.ln_1.bias" in refusal(folder)

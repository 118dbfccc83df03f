"""model: the checkpoint's weights as they are, new ones of any shape, adapters that are merged."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem, one_problem
from gpt2_tools.finetune.model import find_base, load_model, prepare, write_model
from gpt2_tools.finetune.settings import Settings
from support.refusal import refused
from support.toy import Toy, load_weights

needs_torch = pytest.mark.extras("torch", "transformers")


def settings(model=None, **more):
    return Settings(Path("book.txt"), None if model is None else str(model), **more)


def base_of(given):
    with ExitStack() as stack, one_problem():
        return find_base(given, stack)


refusal = partial(refused, Problem, base_of)


def test_a_packaged_model_is_found_by_its_name():
    assert base_of(settings("gpt-2-mini")).size()["vocab_size"] == 8192


def test_a_downloaded_model_is_found_by_any_of_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Toy().write(tmp_path / "public/gpt-2/gpt2")
    for name in ("gpt-2", "gpt2", "124M"):
        assert base_of(settings(name)).folder == Path("public/gpt-2/gpt2")


def test_what_is_no_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal(settings("gpt-2"), about="got no such folder; run: omz_downloader --name gpt-2")
    refusal(settings("gpt-5"), about="--model: expected a model of the zoo or the folder of a checkpoint, got gpt-5")
    refusal(settings("../x"), about="got ../x")
    refusal(settings(tmp_path), about="")


@pytest.mark.parametrize(
    ("given", "about"),
    [
        ("2x3x16:300:32", "a width that the heads divide, got 2x3x16:300:32"),
        ("0x1x16:300:32", "expected counts from 1"),
        ("2x2x16:256:32", "expected 257 tokens or more"),
        ("huge", "expected gpt-2-mini, distilgpt2"),
        ("none.json", "none.json: cannot be read"),
    ],
)
def test_a_size_that_is_none_is_refused(given, about):
    refusal(settings(from_scratch=given), about=about)


def test_a_size_is_a_name_a_shape_or_a_file(tmp_path):
    (tmp_path / "config.json").write_text('{"n_layer": 3, "n_head": 2, "n_embd": 8, "resid_pdrop": 0.2}')
    shape = base_of(settings(from_scratch="6x3x192:4096:256"))
    assert list(shape.size().values()) == [6, 3, 192, 4096, 256]
    assert set(shape.dropouts.values()) == {0.0}
    assert base_of(settings(from_scratch="distilgpt2")).size()["n_layer"] == 6
    assert base_of(settings(from_scratch="gpt-2", vocab_size=1000)).size()["vocab_size"] == 1000
    file = base_of(settings(from_scratch=str(tmp_path / "config.json")))
    assert file.size()["n_embd"] == 8
    assert file.dropouts == {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1}


def test_a_dropout_of_null_is_the_default_and_others_are_numbers(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"n_layer": 3, "n_head": 2, "n_embd": 8, "resid_pdrop": null}')
    assert base_of(settings(from_scratch=path)).dropouts == dict.fromkeys(
        ("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1
    )
    path.write_text('{"n_layer": 3, "n_head": 2, "n_embd": 8, "resid_pdrop": 2}')
    refusal(settings(from_scratch=path), about='config.json: "resid_pdrop": expected a number from 0 to 1, got 2')
    path.write_text("{")
    refusal(settings(from_scratch=path), about="config.json: is not JSON")


@needs_torch
@pytest.mark.parametrize("toy", [Toy(), Toy(tied=False, dtype="F16"), Toy(inverse_layer=True)], ids=repr)
def test_the_model_gives_the_logits_of_its_checkpoint(tmp_path, toy):
    import torch  # noqa: PLC0415

    model = load_model(base_of(settings(toy.write(tmp_path))), seed=0).eval()
    with torch.no_grad():
        logits = model(torch.tensor([[5, 250, 17]])).logits[0].numpy()
    np.testing.assert_allclose(logits, toy.logits([5, 250, 17]), atol=1e-4, rtol=1e-4)


@needs_torch
def test_what_is_written_is_read_as_it_was(tmp_path):
    toy = Toy(dtype="F16")
    base = base_of(settings(toy.write(tmp_path / "toy")))
    (tmp_path / "toy/generation_config.json").write_text('{"top_k": 7}')
    (tmp_path / "out").mkdir()
    write_model(load_model(base, 0), base, tmp_path / "out")
    found = load_weights(tmp_path / "out")
    for name, tensor in load_weights(tmp_path / "toy").items():
        np.testing.assert_array_equal(found[name].as_f32(), tensor.as_f32())
    assert (tmp_path / "out/generation_config.json").read_text() == '{"top_k": 7}'
    assert (tmp_path / "out/model.safetensors").stat().st_mode == (tmp_path / "out/config.json").stat().st_mode


@needs_torch
def test_new_weights_are_those_of_the_seed():
    base = base_of(settings(from_scratch="2x2x16:300:32"))
    first, same, other = (load_model(base, seed).transformer.wte.weight.detach().numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(0.02, rel=0.05)  # GPT-2's initialization


@needs_torch
def test_blocks_alone_can_be_trained(tmp_path):
    given = settings(Toy().write(tmp_path), only_train_transformer_layers=True)
    model = prepare(load_model(base_of(given), 0), given)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"transformer.{name}" for name in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias")}


@pytest.mark.extras("torch", "transformers", "peft")
def test_adapters_are_merged_into_the_weights(tmp_path):
    """W + 2 (A B)^T for a scale of alpha / r = 2, as GPT-2 stores [in, out]; nothing else changes."""
    import torch  # noqa: PLC0415

    given = settings(Toy().write(tmp_path / "toy"), lora=3)
    base = base_of(given)
    model = prepare(load_model(base, 0), given)
    adapters = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
                adapters[name.split(".transformer.")[1]] = parameter.numpy().copy()
            assert parameter.requires_grad == ("lora_" in name)
    (tmp_path / "out").mkdir()
    write_model(model, base, tmp_path / "out")
    before, after = load_weights(tmp_path / "toy"), load_weights(tmp_path / "out")
    assert set(before) == set(after)
    for name, tensor in before.items():
        expected, place = tensor.as_f32(), name.removesuffix(".weight")
        if f"{place}.lora_A.default.weight" in adapters:
            a, b = (adapters[f"{place}.lora_{part}.default.weight"] for part in "AB")
            expected = expected + 2 * (b @ a).T
        np.testing.assert_allclose(after[name].as_f32(), expected, atol=1e-5)
    assert sum("lora_A" in name for name in adapters) == 2

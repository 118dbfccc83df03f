"""paged_attention: this openvino still has it as we know it, and what we do where it has not.

Where one of the first two fails after an upgrade, openvino has changed an interface that it never published: the
engine falls back to the stateful back end, and paged_attention.py has to learn the new one.
"""

import openvino as ov
import pytest

from gpt2_text_prediction.engine.backends import paged_attention
from gpt2_text_prediction.engine.backends.kv_cache import with_kv_cache, with_logits_indices
from gpt2_text_prediction.engine.backends.paged_attention import (
    INPUTS,
    NoPagedAttention,
    cache_inputs,
    with_paged_attention,
)
from gpt2_text_prediction.engine.engine import load_engine
from support.toy import HAS_PAGED_ATTENTION, ONE_THREAD, Toy


def paged_model(folder, toy: Toy) -> ov.Model:
    model = with_kv_cache(toy.model(folder))
    with_logits_indices(model)
    with_paged_attention(model)
    return model


needs_paged_attention = pytest.mark.skipif(not HAS_PAGED_ATTENTION, reason="openvino's is another before 2026.0")


@needs_paged_attention
def test_this_openvino_runs_paged_attention_as_we_know_it(tmp_path):
    engine = load_engine(Toy().ir(tmp_path), config=ONE_THREAD, back_end="paged")
    assert (engine.back_end.name, engine.fallback) == ("paged", None)


@pytest.mark.skipif(HAS_PAGED_ATTENTION, reason="openvino 2026.0 and later have it")
def test_an_openvino_whose_paged_attention_is_another_falls_back_and_says_so(tmp_path):
    engine = load_engine(Toy().ir(tmp_path), config=ONE_THREAD, back_end="paged")
    assert engine.back_end.name == "stateful"
    assert "runs without a paged cache: expected key_cache.0 of blocks of a known shape" in engine.fallback


@needs_paged_attention
@pytest.mark.parametrize(("precision", "token_bytes"), [("f32", 4 * 12), ("f16", 2 * 12)])
def test_this_openvino_has_the_inputs_that_we_know(tmp_path, precision, token_bytes):
    model = paged_model(tmp_path, Toy())
    config = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": precision}
    caches, size = cache_inputs(ov.Core().compile_model(model, "CPU", config))
    assert {cache.name for cache in caches} == {f"{kind}_cache.{i}" for kind in ("key", "value") for i in range(2)}
    assert {cache.shape for cache in caches} == {(2, size, 6)}
    assert {cache.block_bytes for cache in caches} == {size * token_bytes}


@needs_paged_attention
def test_the_size_of_a_block_is_not_taken_from_keys_with_their_scales(tmp_path):
    model = paged_model(tmp_path, Toy())
    caches, size = cache_inputs(ov.Core().compile_model(model, "CPU", {"KV_CACHE_PRECISION": "u8"}))
    assert {cache.shape[1] for cache in caches if cache.name.startswith("value")} == {size}


def test_an_openvino_without_the_transformation_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(paged_attention, "paged_attention_transformation", None)
    with pytest.raises(NoPagedAttention, match="has no paged attention"):
        paged_model(tmp_path, Toy())


def test_an_openvino_whose_transformation_wants_more_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(paged_attention, "paged_attention_transformation", lambda model, options: None)
    with pytest.raises(NoPagedAttention, match="refuses the model"):
        paged_model(tmp_path, Toy())


def test_a_model_that_cannot_be_transformed_is_told(tmp_path):
    with pytest.raises(NoPagedAttention, match="refuses the model"):
        with_paged_attention(Toy().model(tmp_path))


def test_a_model_with_other_inputs_is_told(tmp_path):
    compiled = ov.Core().compile_model(Toy().model(tmp_path), "CPU", {})
    with pytest.raises(NoPagedAttention, match=r"^expected the inputs block_indices, .*, got input$"):
        cache_inputs(compiled)


def test_every_input_is_one_that_the_engine_knows(tmp_path):
    names = {name for port in paged_model(tmp_path, Toy()).inputs for name in port.get_names()}
    assert {name for name in names if "_cache." not in name} == INPUTS

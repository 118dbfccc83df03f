"""config.json: what is read, what is refused."""

import json
from dataclasses import replace
from functools import partial

import pytest

from gpt2_recipe import ACTIVATIONS, GPT2Config, Problem, read_config
from gpt2_recipe.config import OTHER_ACTIVATIONS
from support.refusal import refused

GPT2 = GPT2Config(
    vocab_size=50257,
    n_positions=1024,
    n_embd=768,
    n_layer=12,
    n_head=12,
    n_inner=3072,
    layer_norm_epsilon=1e-5,
    activation_function="gelu_new",
    tie_word_embeddings=True,
    eos_token_ids=(50256,),
    bos_token_ids=(50256,),
)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a config.json of these fields, or of these bytes."""

    def read_fields(raw: bytes | None = None, **fields) -> GPT2Config:
        path = tmp_path / "config.json"
        path.write_bytes(json.dumps(fields).encode() if raw is None else raw)
        return read_config(path)

    return read_fields


refusal = partial(refused, Problem, about="config.json: ")


def test_an_empty_object_is_gpt2_as_transformers_defaults_it(read):
    assert read() == GPT2


def test_the_published_config_is_read(read):
    published = {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": 50257,
    }
    assert read(**published) == GPT2


def test_a_byte_order_mark_does_not_matter(read):
    assert read(b"\xef\xbb\xbf{}") == GPT2


def test_inner_width_is_four_times_the_width_unless_given(read):
    assert read(n_embd=24).n_inner == 96
    assert read(n_embd=24, n_inner=None).n_inner == 96
    assert read(n_embd=24, n_inner=7).n_inner == 7


def test_the_end_of_text_is_known_only_where_it_is_given_or_the_vocabulary_is_gpt2s(read):
    assert read(vocab_size=10).eos_token_ids == ()
    assert read(vocab_size=10, eos_token_id=0).eos_token_ids == (0,)
    assert read(eos_token_id=None).eos_token_ids == ()


def test_gpt2s_end_of_text_in_a_smaller_vocabulary_is_transformers_default_and_means_nothing(read):
    assert read(vocab_size=300, eos_token_id=50256).eos_token_ids == ()
    assert read(vocab_size=300, eos_token_id=[50256]).eos_token_ids == ()
    assert read(vocab_size=60000, eos_token_id=50256).eos_token_ids == (50256,)


def test_of_several_ends_of_text_each_is_one(read):
    assert read(eos_token_id=[7, 50256]).eos_token_ids == (7, 50256)


def test_what_transformers_5_writes_is_read(read):
    written = {
        "architectures": ["GPT2LMHeadModel"],
        "dtype": "float32",
        "model_type": "gpt2",
        "n_inner": None,
        "pad_token_id": None,
        "reorder_and_upcast_attn": False,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "transformers_version": "5.23.0",
        "use_cache": True,
    }
    assert read(**written) == GPT2


@pytest.mark.parametrize("architectures", [None, [], ["GPT2LMHeadModel"], ["GPT2Model"], "x"])
def test_a_config_without_model_type_may_name_a_gpt2(read, architectures):
    assert read(architectures=architectures) == GPT2


def test_another_architecture_is_named(read):
    assert 'expected "gpt2", got "llama"' in refusal(read, model_type="llama", hidden_size=64)
    assert "expected GPT2LMHeadModel, got LlamaForCausalLM" in refusal(read, architectures=["LlamaForCausalLM"])


def test_the_aliases_of_transformers_override_the_fields(read):
    given = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}
    expected = replace(GPT2, n_embd=48, n_layer=3, n_head=4, n_positions=64, n_inner=192)
    assert read(**given) == expected
    assert read(**given, n_embd=24, n_layer=2, n_head=2, n_positions=32) == expected


def test_null_is_the_default_of_what_is_not_implemented_otherwise(read):
    fields = ("pruned_heads", "quantization_config", "add_cross_attention", "is_encoder_decoder")
    assert read(**dict.fromkeys(fields)) == GPT2


def test_the_scale_of_attention(read):
    assert read(scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True) == replace(
        GPT2, scale_attn_by_inverse_layer_idx=True
    )
    assert read(scale_attn_weights=False) == replace(GPT2, scale_attn_weights=False)


@pytest.mark.parametrize("name", [*ACTIVATIONS, *OTHER_ACTIVATIONS])
def test_the_activations_that_are_implemented(read, name):
    assert read(activation_function=name) == replace(GPT2, activation_function=name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_type", "gptj"),
        ("model_type", None),
        ("scale_attn_weights", None),
        ("scale_attn_by_inverse_layer_idx", 1),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"bits": 4}),
        ("activation_function", "xielu"),
        ("activation_function", None),
        ("activation_function", 5),
        ("n_layer", 0),
        ("n_layer", -1),
        ("n_layer", "12"),
        ("n_layer", 12.0),
        ("n_layer", True),
        ("n_layer", None),
        ("n_embd", []),
        ("n_positions", 0),
        ("vocab_size", 0),
        ("n_inner", 0),
        ("n_inner", "3072"),
        ("n_head", 7),
        ("layer_norm_epsilon", 0),
        ("layer_norm_epsilon", -1e-5),
        ("layer_norm_epsilon", "1e-5"),
        ("layer_norm_epsilon", None),
        ("layer_norm_epsilon", True),
        ("layer_norm_epsilon", float("nan")),
        ("layer_norm_epsilon", float("inf")),
        ("tie_word_embeddings", 1),
        ("tie_word_embeddings", None),
        ("eos_token_id", -1),
        ("eos_token_id", 50257),
        ("eos_token_id", "50256"),
        ("eos_token_id", True),
        ("eos_token_id", []),
        ("eos_token_id", [50257]),
        ("eos_token_id", ["50256"]),
    ],
)
def test_a_field_that_is_broken_or_not_implemented_is_refused_by_name(read, name, value):
    message = refusal(read, **{name: value})
    assert f'"{name}"' in message
    assert "expected" in message
    assert "got" in message


@pytest.mark.parametrize("value", [[], {}])
def test_an_activation_that_is_no_string_is_refused(read, value):
    assert '"activation_function"' in refusal(read, activation_function=value)


def test_an_epsilon_too_large_for_a_float_is_refused(read):
    assert '"layer_norm_epsilon"' in refusal(read, layer_norm_epsilon=10**400)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe{", b'{"n_layer": 1,}', b"[" * 100_000, b'{"n_layer": ' + b"9" * 5000 + b"}"],
)
def test_what_is_not_json_is_refused(read, raw):
    assert "is not JSON" in refusal(read, raw)


@pytest.mark.parametrize(("raw", "kind"), [(b"[]", "list"), (b"null", "NoneType"), (b"5", "int"), (b'"{}"', "str")])
def test_what_is_no_object_is_refused(read, raw, kind):
    assert f"expected a JSON object, got {kind}" in refusal(read, raw)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "config.json", tmp_path):
        with pytest.raises(Problem, match="cannot be read") as caught:
            read_config(path)
        assert str(caught.value).startswith(str(path))

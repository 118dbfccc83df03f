"""One model in every form that transformers and PyTorch save it: the same logits as transformers, the same text.

Needs PyTorch and transformers, which `make test` does not install and .ci/run does.
"""

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe
from gpt2_recipe.config import ACTIVATIONS, OTHER_ACTIVATIONS
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support import DATA

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")

LARGEST_DIFFERENCE = 1e-4
TOKENIZER = DATA / "gpt2-tokenizer"


def random_model(**changed):
    torch.manual_seed(0)
    config = {"n_layer": 3, "n_head": 3, "n_embd": 48, "n_positions": 64, "vocab_size": 997, "bos_token_id": 0}
    config |= {"eos_token_id": 0, "initializer_range": 0.3, **changed}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).eval()


def check(folder: Path, theirs) -> None:
    ids = np.random.default_rng(1).integers(0, theirs.config.vocab_size, (2, 40))
    with torch.inference_mode():
        expected = theirs.float()(torch.from_numpy(ids)).logits.numpy()
    model = gpt2_recipe.convert(folder).model
    ours = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([ids])[0]
    assert np.abs(ours - expected).max() <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard", ["5GB", "50KB"])
def test_what_save_pretrained_writes(tmp_path, tied, dtype, shard):
    theirs = random_model(tie_word_embeddings=tied).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "50KB")
    check(tmp_path, theirs)


@pytest.mark.parametrize("zipped", [True, False], ids=["1.6 and later", "before 1.6"])
def test_a_pytorch_model_bin(tmp_path, zipped):
    theirs = random_model()
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    check(tmp_path, theirs)


def test_an_embedding_that_was_resized(tmp_path):
    theirs = random_model()
    theirs.resize_token_embeddings(1003)
    theirs.save_pretrained(tmp_path)
    check(tmp_path, theirs)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, *OTHER_ACTIVATIONS])
def test_other_settings(tmp_path, activation):
    theirs = random_model(activation_function=activation, n_inner=100, layer_norm_epsilon=1e-3)
    theirs.save_pretrained(tmp_path)
    check(tmp_path, theirs)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("upcast", [True, False])
def test_the_scales_of_attention(tmp_path, scaled, upcast):
    theirs = random_model(
        scale_attn_by_inverse_layer_idx=True,
        scale_attn_weights=scaled,
        reorder_and_upcast_attn=upcast,
        attn_implementation="eager",  # the only one that looks at reorder_and_upcast_attn
    )
    theirs.save_pretrained(tmp_path)
    check(tmp_path, theirs)


def test_the_aliases_in_a_config_json(tmp_path):
    theirs = random_model()
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    for alias, published in transformers.GPT2Config.attribute_map.items():
        fields[alias] = fields.pop(published)
    path.write_text(json.dumps(fields))
    check(tmp_path, transformers.GPT2LMHeadModel.from_pretrained(tmp_path))


def test_the_language_model_of_double_heads(tmp_path):
    torch.manual_seed(0)
    theirs = transformers.GPT2DoubleHeadsModel(random_model().config).eval()
    theirs.save_pretrained(tmp_path)
    check(tmp_path, theirs)
    assert "GPT2DoubleHeadsModel" in gpt2_recipe.convert(tmp_path).notes[0]


@pytest.mark.parametrize("kind", ["GPT2ForTokenClassification", "GPT2ForQuestionAnswering"])
def test_a_classifier_is_named(tmp_path, kind):
    getattr(transformers, kind)(random_model().config).save_pretrained(tmp_path)
    with pytest.raises(gpt2_recipe.Problem, match=f"expected a language model, got {kind}"):
        gpt2_recipe.convert(tmp_path)


def test_a_model_without_its_head(tmp_path):
    theirs = random_model()
    theirs.transformer.save_pretrained(tmp_path)
    check(tmp_path, theirs)


def test_a_tokenizer_as_transformers_saves_it_with_tokens_added(tmp_path):
    theirs = transformers.AutoTokenizer.from_pretrained(_as_checkpoint(tmp_path / "in"))
    theirs.add_special_tokens({"pad_token": "<|pad|>"})
    theirs.add_tokens(["zebra fish"])
    folder = tmp_path / "out"
    theirs.save_pretrained(folder)
    random_model(vocab_size=len(theirs), n_layer=1).save_pretrained(folder)
    companions = gpt2_recipe.convert(folder).companions
    for companion in companions:
        content = companion.read_bytes() if isinstance(companion, Path) else companion.content
        (tmp_path / companion.name).write_bytes(content)
    ours = GPT2Tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")
    for text in ("Hello world, it's 1999.", "  日本\n\n", "naïve café \U0001f600"):
        assert ours.encode(text) == theirs(text)["input_ids"]
    assert ours.decode([len(theirs) - 1]) == "zebra fish"


def _as_checkpoint(folder: Path) -> Path:
    folder.mkdir()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((TOKENIZER / name).read_bytes())
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder

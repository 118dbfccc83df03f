"""GPT2ForSequenceClassification, saved as transformers and PyTorch save it: the same logits, and its pipeline's scores.

Needs PyTorch and transformers, which `make test` does not install and .ci/run does.
"""

import json

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe
from gpt2_text_prediction import Classifier
from support.labels import ir
from support.toy import ONE_THREAD, Toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")

LARGEST_DIFFERENCE = 1e-5
VOCABULARY = 300
EOS = VOCABULARY - 1
TEXTS = ["the rat", "is it so, or not?", "ten hats on the rest", "no", "rest in heat and rain, all of us there"]


def random_model(**changed):
    torch.manual_seed(0)
    config = {"n_layer": 3, "n_head": 3, "n_embd": 48, "n_positions": 40, "vocab_size": VOCABULARY, "num_labels": 5}
    config |= {"bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": EOS, "initializer_range": 0.1, **changed}
    return transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**config)).eval()


def ragged(pad: int) -> np.ndarray:  # [B, L]
    """Rows padded on the right, on the left, within, everywhere, and not at all."""
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (8, 32))
    for row, part in enumerate((slice(32, 32), slice(20, 32), slice(0, 9), slice(7, 12), slice(0, 32), slice(1, 32))):
        ids[row, part] = pad
    ids[6, 5] = ids[7, 30] = pad
    ids[7, 31] = pad
    return ids


def check(folder, theirs, ids) -> None:
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(ids)).logits.numpy()
    ours = ov.Core().compile_model(gpt2_recipe.convert(folder).model, "CPU", ONE_THREAD)([ids])[0]
    assert np.abs(ours - expected).max() <= LARGEST_DIFFERENCE
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("pad", [0, 7, EOS])
@pytest.mark.parametrize("shard", ["5GB", "50KB"])
def test_what_save_pretrained_writes(tmp_path, pad, shard):
    theirs = random_model(pad_token_id=pad)
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "50KB")
    check(tmp_path, theirs, ragged(pad))


def test_a_pytorch_model_bin(tmp_path):
    theirs = random_model()
    theirs.config.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"architectures": ["GPT2ForSequenceClassification"]}))
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    check(tmp_path, theirs, ragged(EOS))


def test_without_a_pad_token_transformers_takes_one_row(tmp_path):
    theirs = random_model(pad_token_id=None)
    theirs.save_pretrained(tmp_path)
    ids = ragged(EOS)
    with pytest.raises(ValueError, match="no padding token"):
        theirs(torch.from_numpy(ids))
    for row in ids:
        check(tmp_path, theirs, row[None])


@pytest.mark.parametrize(
    "changed",
    [{}, {"num_labels": 1}, {"problem_type": "multi_label_classification"}, {"pad_token_id": None}],
    ids=["labels", "one label", "multi-label", "no pad token"],
)
def test_scores_are_those_of_the_pipeline(tmp_path, changed):
    theirs = random_model(**changed)
    folder = tmp_path / "in"
    Toy(vocab_size=VOCABULARY).write_vocabulary(tmp_path)
    tokenizer = transformers.GPT2Tokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), pad_token="<|endoftext|>"
    )
    theirs.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pipeline = transformers.pipeline("text-classification", model=theirs, tokenizer=tokenizer, device="cpu")
    expected = pipeline(TEXTS, top_k=None)
    with Classifier(ir(folder, tmp_path / "out/toy.xml"), config=ONE_THREAD) as classify:
        for result, scores in zip(classify(TEXTS), expected, strict=True):
            assert [score.label for score in result.scores] == [each["label"] for each in scores]
            found = [score.score for score in result.scores]
            np.testing.assert_allclose(found, [each["score"] for each in scores], atol=1e-5)

"""vocabulary: a checkpoint's tokenizer as transformers has it, and one that is trained."""

import json

import pytest

from gpt2_tools.common.problem import one_problem
from gpt2_tools.finetune.data.vocabulary import of_checkpoint, read, trained
from support.toy import Toy

TEXTS = ["the hen runs home", "the fox sees the hen", "日本 <|endoftext|> the end"]


def test_a_trained_vocabulary_gives_every_text_back(tmp_path):
    vocabulary = trained(TEXTS * 3, 270)
    encoder = vocabulary.encoder()
    assert encoder.vocab_size == 270
    assert (vocabulary.end, vocabulary.begin, encoder.dtype) == (0, 0, "<u2")
    for text in (*TEXTS, "never seen: \x00\U0010ffff"):
        (ids,) = encoder.encode([text])
        assert vocabulary.decode(ids) == text
    assert encoder.encode(["<|endoftext|>"]) == [[0]]
    vocabulary.write(tmp_path)
    assert read(tmp_path).files == vocabulary.files


def test_a_short_text_gives_fewer_tokens():
    assert trained(["ab"], 5000).encoder().vocab_size == 258


def test_a_checkpoints_tokenizer_is_its_own(tmp_path):
    vocabulary = of_checkpoint(Toy().write(tmp_path))
    assert (vocabulary.end, vocabulary.encoder(300).vocab_size) == (299, 300)
    assert json.loads(vocabulary.files["vocab.json"]) == json.loads((tmp_path / "vocab.json").read_bytes())


def test_a_checkpoint_without_one_is_refused(tmp_path):
    Toy().write(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(Exception, match=r"neither vocab\.json and merges.txt nor a tokenizer.json"), one_problem():
        of_checkpoint(tmp_path)


@pytest.mark.extras("transformers")
@pytest.mark.parametrize("of", ["trained", "checkpoint"])
def test_transformers_reads_the_files_as_we_do(tmp_path, of):
    from transformers import AutoTokenizer  # noqa: PLC0415

    vocabulary = trained(TEXTS, 280) if of == "trained" else of_checkpoint(Toy().write(tmp_path / "toy"))
    (tmp_path / "out").mkdir()
    vocabulary.write(tmp_path / "out")
    (tmp_path / "out/config.json").write_text('{"model_type": "gpt2"}')
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert [tokenizer(text).input_ids for text in TEXTS] == vocabulary.encoder().encode(TEXTS)
    if of == "trained":
        assert tokenizer.eos_token_id == vocabulary.end

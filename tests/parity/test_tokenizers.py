"""Each kind of tokenizer that checkpoints have: beside the IR lies one that encodes as transformers' AutoTokenizer."""

import pytest
from tokenizers import Tokenizer

from gpt2_recipe.tokenizer.files import Companion, tokenizer_files
from support.tokenizer_kinds import END, KINDS, TEXTS, write_kind

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("transformers")


@pytest.mark.parametrize("name", KINDS)
def test_it_encodes_as_auto_tokenizer(tmp_path, name):
    folder = write_kind(name, tmp_path / "checkpoint")
    companion = tokenizer_files(folder, KINDS[name].rows).companions[0]
    content = companion.content if isinstance(companion, Companion) else companion.read_bytes()
    ours, theirs = Tokenizer.from_str(content.decode()), transformers.AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS, f"one{END} two {END}"):
        assert ours.encode(text).ids == theirs(text)["input_ids"], text

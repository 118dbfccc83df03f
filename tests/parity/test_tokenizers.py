"""Each kind of tokenizer that checkpoints have: beside the IR lies one that encodes as transformers' AutoTokenizer."""

import json

import pytest
from tokenizers import Tokenizer

from support import DATA
from support.tokenizer_kinds import END, KINDS, TEXTS, beside_ir

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("transformers")


@pytest.mark.parametrize("name", KINDS)
def test_it_encodes_as_auto_tokenizer(tmp_path, name):
    xml = beside_ir(name, tmp_path)
    ours = Tokenizer.from_file(str(xml.parent / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    for text in (*TEXTS, f"one{END} two {END}"):
        assert ours.encode(text).ids == theirs(text)["input_ids"], text
    recorded = json.loads((DATA / "tokenizer_kinds.json").read_bytes())[name]
    assert [theirs(text)["input_ids"] for text in TEXTS] == recorded

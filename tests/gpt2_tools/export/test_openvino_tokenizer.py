"""OpenVINO's tokenizer of each kind gives the tokens that the demo gives with --parse_special.

openvino-tokenizers changes the openvino of the process that it is imported in: it runs in one of its own.
"""

import json
import subprocess
import sys
import textwrap

import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support import HANGS_AFTER
from support.tokenizer_kinds import END, KINDS, TEXTS, beside_ir

pytestmark = pytest.mark.extras("openvino_genai", "transformers")

BUILD = """
import json, sys
from pathlib import Path
import openvino
from gpt2_tools.common.problem import Problem
from gpt2_tools.export.openvino_tokenizer import ExportedTokenizer, build_tokenizer, check_tokenizer, load_parts
parts, (folders, texts) = load_parts(), json.load(sys.stdin)
for folder, eos in folders:
    exported = ExportedTokenizer(Path(folder, "tokenizer.json"), eos)
    try:
        models = build_tokenizer(parts, exported)
        check_tokenizer(exported, *models)
        tokenizer, _ = map(openvino.compile_model, models)
        print(json.dumps([tokenizer(openvino.Tensor([text]))["input_ids"][0].tolist() for text in texts]))
    except Problem as problem:
        print(json.dumps(str(problem)))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What a process prints for each kind, with the demo's tokenizer of it."""
    folders, ours = [], {}
    for name in KINDS:
        folder = beside_ir(name, tmp_path_factory.mktemp("kind")).parent
        ours[name] = GPT2Tokenizer.from_file(folder / "tokenizer.json")
        folders.append((str(folder), ours[name].end_of_text_id or 2))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BUILD)],
        input=json.dumps([folders, [*TEXTS, f"one{END} two {END}"]]),
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER,
    )
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    return {name: (ours[name], answer) for name, answer in zip(KINDS, answers, strict=True)}


REFUSED = ("ignore_merges", "Unigram with bytes")
"""openvino-tokenizers 2026.4 knows no ignore_merges, and takes a character without a piece for <unk>."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_that_would_give_other_tokens_is_refused(exported, name):
    _, problem = exported[name]
    assert problem.startswith("openvino-tokenizers ")
    assert ": does not make this tokenizer: expected the tokens [" in problem


@pytest.mark.parametrize("name", [name for name in KINDS if name not in REFUSED])
def test_its_tokens_are_the_demos_with_parse_special(exported, name):
    ours, got = exported[name]
    assert isinstance(got, list), got
    for text, tokens in zip([*TEXTS, f"one{END} two {END}"], got, strict=True):
        special = ours.end_of_text_id is not None
        assert tokens == ours.encode(text, special, template=True), text

"""OpenVINO's tokenizer and detokenizer, built of the steps of openvino-tokenizers from a tokenizer.json.

They give the tokens that the demo gives with --parse_special, which are those of transformers.
"""

import json
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import openvino as ov

from gpt2_recipe.tokenizer import END_OF_TEXT, AddedToken, is_gpt2_split
from gpt2_text_prediction.text import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from omz_model_tools.common import ends_at_once, one_line

SAMPLE = "Hello, world's 123 words:\n\n  it'll be caf\u00e9, \u65e5\u672c and \U0001f600  "
"""A text that the exported tokenizer is tested on: it takes every branch of GPT-2's pattern."""
FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")
INSTALL = "run: pip install -U 'omz-gpt2[genai]'"


class Parts(NamedTuple):
    """The modules of openvino-tokenizers from which a tokenizer is built."""

    pipeline: Any
    types: Any


def load_parts() -> Parts:
    """Import them. Raises Problem if openvino-tokenizers is not installed."""
    try:
        with ends_at_once():
            from openvino_tokenizers import tokenizer_pipeline, utils  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name}: is not installed; run: pip install 'omz-gpt2[genai]'") from None
    return Parts(tokenizer_pipeline, utils)


class ExportedTokenizer:
    """A tokenizer.json to build from; eos: the id that a text ends with, and that pads a batch."""

    def __init__(self, path: Path, eos: int) -> None:
        """Read it. Raises the demo's Problem for a broken file."""
        self.path, self.eos = path, eos
        self.fields: dict[str, Any] = json.loads(path.read_bytes())
        self.ours = GPT2Tokenizer.from_file(path)

    @cached_property
    def added(self) -> list[AddedToken]:
        """The added tokens in the order of their ids; <|endoftext|> is one of them, as with --parse_special."""
        found = {}
        for i, token in self.ours.added_tokens.items():
            flags = {
                name: getattr(token, name) for name in ("special", "lstrip", "rstrip", "single_word", "normalized")
            }
            found[i] = AddedToken(token.content, i, **flags)
        if (end := self.ours.end_of_text_id) is not None:
            found.setdefault(end, AddedToken(END_OF_TEXT, end, special=True))
        return [found[i] for i in sorted(found)]

    @property
    def split(self) -> list[AddedToken]:
        """The added tokens that are split off a text; OpenVINO has no step for tokens that are whole words only."""
        return [token for token in self.added if not token.single_word]

    @property
    def add_prefix_space(self) -> bool:
        """Whether a space is put before a text."""
        return is_gpt2_split(self.fields["pre_tokenizer"], True)

    @property
    def is_gpt2(self) -> bool:
        """Whether it is a byte-level BPE that splits texts as GPT-2's does."""
        model = self.fields["model"]
        return (
            self.fields["normalizer"] is None
            and (self.add_prefix_space or is_gpt2_split(self.fields["pre_tokenizer"], False))
            and model.get("type", "BPE") == "BPE"
            and not model.get("ignore_merges")
        )


def build_tokenizer(parts: Parts, exported: ExportedTokenizer) -> tuple[ov.Model, ov.Model]:
    """Return text -> input_ids, attention_mask, and ids -> text.

    Raises Problem for a tokenizer of which openvino-tokenizers cannot build one.
    """
    try:
        pipeline = _gpt2_pipeline(parts.pipeline, exported) if exported.is_gpt2 else _other_pipeline(parts, exported)
        tokenizer = parts.types.change_outputs_type(pipeline.get_tokenizer_ov_subgraph(), ov.Type.i64)
        detokenizer = parts.types.change_inputs_type(pipeline.get_detokenizer_ov_subgraph(), ov.Type.i64)
    except Problem:
        raise
    except Exception as error:  # not a stable interface, with exceptions of its own
        raise _misfit(one_line(error)) from error
    for model in (tokenizer, detokenizer):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            model.set_rt_info(exported.eos, name)
    return tokenizer, detokenizer


def _gpt2_pipeline(steps: Any, exported: ExportedTokenizer) -> Any:
    split, model = exported.split, exported.fields["model"]
    added = sorted(split, key=lambda token: token.content, reverse=True)
    ids = {**model["vocab"], **{token.content: token.id for token in exported.added}}
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    template = exported.fields.get("post_processor") or {}
    around = []
    if template.get("type") == "TemplateProcessing":
        around = [steps.CombineSegmentsStep.from_hf_json_template_postprocessor(template, 1, True)]
    pipeline = steps.TokenizerPipeline()
    pipeline.add_steps(
        [
            steps.SpecialTokensSplit([steps.SpecialToken(t.content, t.lstrip, t.rstrip) for t in added]),
            *[steps.RegexNormalizationStep.add_prefix_whitespace_regex()] * exported.add_prefix_space,
            steps.RegexSplitStep.byte_level_splitter(),
            steps.BytesToCharsStep(),
            steps.BPETokenizationStep(_without_gaps(ids), merges, added_tokens={t.content: t.id for t in added}),
            *around,
            steps.PaddingStep(token=exported.ours.token(exported.eos), _token_id=exported.eos, pad_right=False),
            steps.VocabDecoderStep(skip_tokens=[t.id for t in exported.added if t.special]),
            steps.CharsToBytesStep(),
            steps.UTF8ValidateStep(mode=steps.UTF8ReplaceMode.REPLACE),
        ]
    )
    return pipeline


def _without_gaps(ids: dict[str, int]) -> list[str]:
    """Return the tokens by id, with a name for each id that is none."""
    tokens = {i: token for token, i in ids.items()}
    return [tokens.get(i, f"<|unused_{i}|>") for i in range(max(tokens) + 1)]


def _other_pipeline(parts: Parts, exported: ExportedTokenizer) -> Any:
    """Let openvino-tokenizers read the tokenizer.json: its reader needs transformers."""
    try:
        with ends_at_once():
            from openvino_tokenizers.hf_parser import TransformersTokenizerPipelineParser  # noqa: PLC0415
    except ModuleNotFoundError as error:
        kind = exported.fields["model"].get("type", "tokenizer")
        raise Problem(
            f"{error.name}: is not installed, and openvino-tokenizers needs it for a {kind} other than GPT-2's; "
            "run: pip install transformers"
        ) from None
    described = SimpleNamespace(  # what it reads of a tokenizer of transformers
        is_fast=True,
        save_pretrained=lambda folder: Path(folder, exported.path.name).write_bytes(exported.path.read_bytes()),
        added_tokens_decoder={token.id: token for token in exported.split},
        model_max_length=None,
        pad_token=exported.ours.token(exported.eos),
        pad_token_id=exported.eos,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    params = parts.types.TokenzierConversionParams(utf8_replace_mode=parts.pipeline.UTF8ReplaceMode.REPLACE)
    return TransformersTokenizerPipelineParser(described, params).parse()


def check_tokenizer(exported: ExportedTokenizer, tokenizer: ov.Model, detokenizer: ov.Model) -> None:
    """Raise Problem unless a sample with every added token gives the demo's tokens, and those the demo's text."""
    core = ov.Core()
    sample = SAMPLE + "".join(f" a{token.content}" for token in exported.split)
    expected = exported.ours.encode(sample, special=True, template=True)
    got = core.compile_model(tokenizer, "CPU")(ov.Tensor([sample]))["input_ids"][0].tolist()
    if got != expected:
        raise _misfit(f"expected the tokens {expected}, got {got}")
    special = {token.id for token in exported.added if token.special}
    decoded = exported.ours.decode([token for token in expected if token not in special])
    text = core.compile_model(detokenizer, "CPU")(ov.Tensor([expected]))["string_output"][0]
    if text != decoded:
        raise _misfit(f"expected the text {decoded!r}, got {str(text)!r}")


def _misfit(reason: str) -> Problem:
    name = f"openvino-tokenizers {version('openvino-tokenizers')}"
    return Problem(f"{name}: does not make this tokenizer: {reason}; {INSTALL}")

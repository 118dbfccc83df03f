"""The folder that openvino_genai.LLMPipeline loads and OpenVINO Model Server serves.

A stateful model with its KV cache, tokenizer and detokenizer as IRs, and the configuration files of Hugging Face.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openvino as ov

from gpt2_recipe.tokenizer import AddedToken
from gpt2_text_prediction.engine import NoCachePossible, with_kv_cache
from gpt2_tools.common.problem import Problem
from gpt2_tools.export.recipe_ir import RecipeIR
from omz_model_tools.common import ends_at_once, one_line
from omz_model_tools.convert import save_ir

SAMPLE = "Hello, world's 123 words:\n\n  it'll be caf\u00e9, \u65e5\u672c and \U0001f600  "
"""A text that the exported tokenizer is tested on: it takes every branch of GPT-2's pattern."""

GRAPH = "graph.pbtxt"
"""The file by which OpenVINO Model Server recognizes a text generator; users edit it."""
GRAPH_TEXT = """\
# How OpenVINO Model Server runs this folder. Further options, such as cache_size (GB), go beside models_path.
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info { tag_index: "LOOPBACK:0" back_edge: true }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler"
    options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] { sync_set { tag_index: "LOOPBACK:0" } } }
  }
  node_options {
    [type.googleapis.com/mediapipe.LLMCalculatorOptions] { models_path: "./" }
  }
}
"""


@dataclass(frozen=True)
class Parts:
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


def write_folder(parts: Parts, ir: RecipeIR, folder: Path, *, graph: bool) -> None:
    """Write the export into an empty folder; graph: also the graph.pbtxt of OpenVINO Model Server.

    Raises Problem if openvino-tokenizers builds a tokenizer that differs from the demo's.
    """
    tokenizer, detokenizer = build_tokenizer(parts, ir)
    check_tokenizer(ir, tokenizer, detokenizer)
    _save(tokenizer, folder / "openvino_tokenizer.xml")
    _save(detokenizer, folder / "openvino_detokenizer.xml")
    for name, content in configuration_files(ir).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for path in (ir.vocab, ir.merges):
        shutil.copyfile(path, folder / path.name)
    try:
        model = with_kv_cache(ir.model)
    except NoCachePossible as reason:
        raise Problem(f"{ir.path}: cannot be given a cache: {_no_cache(ir, reason)}") from None
    _save(model, folder / "openvino_model.xml")
    if graph:
        (folder / GRAPH).write_text(GRAPH_TEXT, encoding="utf-8")


def _no_cache(ir: RecipeIR, reason: NoCachePossible) -> str:
    if ir.config.n_positions == 1:
        return "it has one position, so no token follows another"
    return f"{reason}; convert it again"


def configuration_files(ir: RecipeIR) -> dict[str, dict[str, Any]]:
    """Return the content of each JSON file by name, as transformers writes them for a GPT-2."""
    config, symbol = ir.config, end_of_text(ir)[1]
    ids = special_ids(ir)
    tokens = {"bos_token": symbol_of(ir, ids["bos_token_id"]), "eos_token": symbol, "unk_token": symbol}
    return {
        "config.json": {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": config.activation_function,
            "layer_norm_epsilon": config.layer_norm_epsilon,
            "n_ctx": config.n_positions,
            "n_embd": config.n_embd,
            "n_head": config.n_head,
            "n_inner": config.n_inner,
            "n_layer": config.n_layer,
            "n_positions": config.n_positions,
            "tie_word_embeddings": config.tie_word_embeddings,
            "vocab_size": config.vocab_size,
            **ids,
        },
        "generation_config.json": {**generation_config(ir.path), **ids},
        "special_tokens_map.json": tokens,
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config.n_positions,
            "added_tokens_decoder": {
                str(token.id): _as_published(token) for token in sorted(added_tokens(ir), key=lambda token: token.id)
            },
            **tokens,
        },
    }


def end_of_text(ir: RecipeIR) -> tuple[int, str]:
    """Return the id and the symbol of the end-of-text token, the first where there are several."""
    if not ir.config.eos_token_ids:
        raise Problem(f"{ir.vocab}: has no <|endoftext|>, and the IR no end-of-text token")
    eos = ir.config.eos_token_ids[0]
    return eos, symbol_of(ir, eos)


def generation_config(ir: Path) -> dict[str, Any]:
    """Return the content of the generation_config.json beside an IR, if there is one."""
    path = ir.with_name("generation_config.json")
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def special_ids(ir: RecipeIR) -> dict[str, Any]:
    """Return bos_token_id and eos_token_id as in config.json: a list where several tokens end a text."""
    eos, *others = ir.config.eos_token_ids
    return {"bos_token_id": ir.config.bos_token_ids[0], "eos_token_id": [eos, *others] if others else eos}


def symbol_of(ir: RecipeIR, token: int) -> str:
    """Return a token as the vocabulary writes it."""
    return next(symbol for symbol, i in _vocabulary(ir).items() if i == token)


def added_tokens(ir: RecipeIR) -> list[AddedToken]:
    """Return the tokens that are split off a text before BPE: added tokens and end-of-text, longest first."""
    eos, symbol = end_of_text(ir)
    found = {symbol: AddedToken(symbol, eos, special=True), **{token.content: token for token in ir.added}}
    return sorted(found.values(), key=lambda token: token.content, reverse=True)


def _as_published(token: AddedToken) -> dict[str, Any]:
    fields = asdict(token)
    del fields["id"]
    return {**fields, "normalized": not token.special}


def build_tokenizer(parts: Parts, ir: RecipeIR) -> tuple[ov.Model, ov.Model]:
    """Return text -> input_ids, attention_mask, and ids -> text.

    Added tokens and end-of-text are parsed in a text, as transformers and OpenVINO GenAI do, unlike the demo.
    """
    eos, symbol = end_of_text(ir)
    added = added_tokens(ir)
    steps = parts.pipeline
    ids = _vocabulary(ir)
    lines = ir.merges.read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    try:
        pipeline = steps.TokenizerPipeline()
        pipeline.add_steps(
            [
                steps.SpecialTokensSplit([steps.SpecialToken(t.content, t.lstrip, t.rstrip) for t in added]),
                steps.RegexSplitStep.byte_level_splitter(),
                steps.BytesToCharsStep(),
                steps.BPETokenizationStep(
                    sorted(ids, key=ids.__getitem__), merges, added_tokens={t.content: t.id for t in added}
                ),
                steps.PaddingStep(token=symbol, _token_id=eos, pad_right=False),
                steps.VocabDecoderStep(skip_tokens=[t.id for t in added if t.special]),
                steps.CharsToBytesStep(),
                steps.UTF8ValidateStep(mode=steps.UTF8ReplaceMode.REPLACE),
            ]
        )
        tokenizer = parts.types.change_outputs_type(pipeline.get_tokenizer_ov_subgraph(), ov.Type.i64)
        detokenizer = parts.types.change_inputs_type(pipeline.get_detokenizer_ov_subgraph(), ov.Type.i64)
    except (AttributeError, TypeError, RuntimeError) as error:  # not a stable interface of openvino-tokenizers
        raise _misfit(one_line(error)) from error
    for model in (tokenizer, detokenizer):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            model.set_rt_info(eos, name)
    return tokenizer, detokenizer


def check_tokenizer(ir: RecipeIR, tokenizer: ov.Model, detokenizer: ov.Model) -> None:
    """Raise Problem unless a sample with every added token gives the demo's tokens, and those the sample again."""
    core = ov.Core()
    added = added_tokens(ir)
    sample = SAMPLE + "".join(f" a{token.content}" for token in added)
    expected = expected_tokens(ir, added, sample)
    got = core.compile_model(tokenizer, "CPU")(ov.Tensor([sample]))["input_ids"][0].tolist()
    if got != expected:
        raise _misfit(f"expected the tokens {expected}, got {got}")
    special = {token.id for token in added if token.special}
    decoded = ir.tokenizer.decode([token for token in expected if token not in special])
    text = core.compile_model(detokenizer, "CPU")(ov.Tensor([expected]))["string_output"][0]
    if text != decoded:
        raise _misfit(f"expected the text {decoded!r}, got {str(text)!r}")


def expected_tokens(ir: RecipeIR, added: Sequence[AddedToken], text: str) -> list[int]:
    """Return the tokens of a text: the added ones, and between them those of the demo's tokenizer."""
    space = r"\s*"
    patterns = [f"{space * t.lstrip}({re.escape(t.content)}){space * t.rstrip}" for t in added]
    tokens, end = [], 0
    for match in re.finditer("|".join(patterns), text):
        assert match.lastindex is not None
        tokens += [*ir.tokenizer.encode(text[end : match.start()]), added[match.lastindex - 1].id]
        end = match.end()
    return tokens + ir.tokenizer.encode(text[end:])


def _misfit(reason: str) -> Problem:
    name = f"openvino-tokenizers {version('openvino-tokenizers')}"
    return Problem(f"{name}: does not make this tokenizer: {reason}; run: pip install -U 'omz-gpt2[genai]'")


def _vocabulary(ir: RecipeIR) -> dict[str, int]:
    ids: dict[str, int] = json.loads(ir.vocab.read_bytes())
    return ids


def _save(model: ov.Model, xml: Path) -> None:
    save_ir(model, xml, compress_to_fp16=False)

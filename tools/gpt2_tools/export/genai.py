"""The folder that openvino_genai.LLMPipeline loads and OpenVINO Model Server serves.

A stateful model with its KV cache, tokenizer and detokenizer as IRs, and the configuration files of Hugging Face.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openvino as ov

from gpt2_recipe.tokenizer import AddedToken
from gpt2_text_prediction.engine import NoCachePossible, with_kv_cache
from gpt2_tools.common.problem import Problem
from gpt2_tools.export.openvino_tokenizer import ExportedTokenizer, Parts, build_tokenizer, check_tokenizer
from gpt2_tools.export.recipe_ir import TOKENIZER, RecipeIR
from omz_model_tools.convert import save_ir

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


def write_folder(parts: Parts, ir: RecipeIR, folder: Path, *, graph: bool) -> None:
    """Write the export into an empty folder; graph: also the graph.pbtxt of OpenVINO Model Server.

    Raises Problem if openvino-tokenizers builds a tokenizer that differs from the demo's.
    """
    (folder / TOKENIZER).write_bytes(ir.tokenizer_json)
    for path in ir.companions:
        shutil.copyfile(path, folder / path.name)
    exported = ExportedTokenizer(folder / TOKENIZER, end_of_text(ir)[0])
    tokenizer, detokenizer = build_tokenizer(parts, exported)
    check_tokenizer(exported, tokenizer, detokenizer)
    _save(tokenizer, folder / "openvino_tokenizer.xml")
    _save(detokenizer, folder / "openvino_detokenizer.xml")
    for name, content in configuration_files(ir, exported).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
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


def configuration_files(ir: RecipeIR, exported: ExportedTokenizer) -> dict[str, dict[str, Any]]:
    """Return the content of each JSON file by name, as transformers writes them for a GPT-2."""
    config, symbol = ir.config, end_of_text(ir)[1]
    ids = special_ids(ir)
    tokens = {"bos_token": symbol_of(ir, ids["bos_token_id"]), "eos_token": symbol}
    if exported.is_gpt2:
        tokens["unk_token"] = symbol
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
            "tokenizer_class": "GPT2Tokenizer" if exported.is_gpt2 else "PreTrainedTokenizerFast",
            "add_prefix_space": exported.add_prefix_space,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config.n_positions,
            "added_tokens_decoder": {str(token.id): _as_published(token) for token in exported.added},
            **tokens,
        },
    }


def end_of_text(ir: RecipeIR) -> tuple[int, str]:
    """Return the id and the symbol of the end-of-text token, the first where there are several."""
    if not ir.config.eos_token_ids:
        raise Problem(f"{ir.path}: its tokenizer has no <|endoftext|>, and the IR no end-of-text token")
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
    return ir.tokenizer.token(token)


def _as_published(token: AddedToken) -> dict[str, Any]:
    fields = asdict(token)
    del fields["id"]
    return fields


def _save(model: ov.Model, xml: Path) -> None:
    save_ir(model, xml, compress_to_fp16=False)

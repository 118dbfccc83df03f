"""OpenVINO's paged attention, which is no published interface: the only module that calls it, or says why it cannot.

Tried with openvino 2026.0 and 2026.4.1; that of 2025 does not report the size of its blocks, and is not used.
tests/gpt2_text_prediction/engine/backends/test_paged_attention.py fails where a release changes it.
Letters: N blocks, S tokens of a block, H heads, D width of a head, T tokens of a step, B sequences, W logits returned.
"""

from dataclasses import dataclass
from typing import Any

import openvino as ov

from gpt2_text_prediction.engine.ir import last_line

try:
    from openvino._offline_transformations import paged_attention_transformation
except ImportError:
    paged_attention_transformation = None

INPUTS = {
    "input_ids",  # [T]
    "position_ids",  # [T]
    "past_lens",  # [B]: how many tokens of a sequence its blocks hold before this step
    "subsequence_begins",  # [B + 1]: where in T each sequence begins
    "block_indices",  # [..]: the block tables, one after the other
    "block_indices_begins",  # [B + 1]: where in block_indices each table begins
    "max_context_len",  # []: the most tokens that a sequence has after this step
    "logits_indices",  # [W]: the positions in T whose logits are returned
}


class NoPagedAttention(Exception):
    """Paged attention cannot be used with this openvino, device or model; the text says why."""


@dataclass(frozen=True)
class CacheInput:
    """An input of the compiled model that is memory for keys or values, [N, H, ., .]: N is ours to choose."""

    name: str
    dtype: ov.Type
    shape: tuple[int, ...]  # of one block
    block_bytes: int


def with_paged_attention(stateful: ov.Model) -> None:
    """Replace the cache inside a model of kv_cache.py by inputs: those of INPUTS, and key_cache.i and value_cache.i.

    Raises NoPagedAttention where there is no such transformation, or it refuses the model.
    """
    if paged_attention_transformation is None:
        raise NoPagedAttention("this openvino has no paged attention")
    try:
        paged_attention_transformation(stateful)
    except (RuntimeError, TypeError) as error:
        raise NoPagedAttention(f"its paged attention refuses the model: {last_line(error)}") from None


def cache_inputs(compiled: ov.CompiledModel) -> tuple[list[CacheInput], int]:
    """Return the cache inputs of a compiled model, and S.

    Raises NoPagedAttention where the inputs are not those that we know.
    """
    names = [name for port in compiled.inputs for name in port.get_names()]
    caches = {name: port for port in compiled.inputs for name in port.get_names() if "_cache." in name}
    if set(names) - caches.keys() != INPUTS:
        raise NoPagedAttention(f"expected the inputs {', '.join(sorted(INPUTS))}, got {', '.join(sorted(names))}")
    for name, port in caches.items():
        shape = port.get_partial_shape()
        if len(shape) != 4 or not all(dimension.is_static for dimension in list(shape)[1:]):
            raise NoPagedAttention(f"expected {name} of blocks of a known shape, got {shape}")
    # Of value_cache alone: behind a key_cache in u8 stand the scales, and S rows too many crash the process.
    sizes = {port.get_partial_shape()[2].get_length() for name, port in caches.items() if name.startswith("value")}
    if len(sizes) != 1:
        raise NoPagedAttention(f"expected value caches with blocks of one size, got {sorted(sizes)}")
    return [_cache_input(name, port) for name, port in caches.items()], sizes.pop()


def _cache_input(name: str, port: Any) -> CacheInput:
    dtype = port.get_element_type()
    shape = tuple(dimension.get_length() for dimension in list(port.get_partial_shape())[1:])
    return CacheInput(name, dtype, shape, ov.Tensor(dtype, ov.Shape([1, *shape])).byte_size)

"""Turns a stateless GPT-2 graph into a stateful one with a KV cache, at load time.

The stateful interface is that of openvino-genai and OpenVINO Model Server.
Letters: B sequences, L new tokens of a sequence, P columns of the cache before this call, H heads, D width of a head.
"""

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.op.util import Variable, VariableInfo

Node = Any
"""An ov.Node or ov.Output; openvino's own annotations do not let mypy tell them apart."""

HIDDEN = -65504.0
"""Added to the score of a hidden column: the smallest f16 number, so that a softmax gives exactly 0."""


class NoCachePossible(Exception):
    """The graph's attention is not made of ScaledDotProductAttention ops; it runs, by recomputation only."""


def can_have_kv_cache(model: ov.Model) -> bool:
    """Return whether with_kv_cache takes a model."""
    try:
        _find_anchors(model)
    except NoCachePossible:
        return False
    return True


def with_kv_cache(model: ov.Model) -> ov.Model:
    """Return a new, stateful model that computes what `model` computes; `model` must not be used afterwards.

    model: one int64 input [B, L]; positions from one Range; causal ScaledDotProductAttention.
    Returns: input_ids [B, L], attention_mask [B, P + L] (0 hides a column), position_ids [B, L], beam_idx [B] (the
    row of the cache that each sequence continues), all int64 but int32 beam_idx -> logits f32 [B, L, V].
    Raises NoCachePossible, with `model` untouched, where the graph is of another kind.
    """
    attentions, position_range = _find_anchors(model)
    (input_ids,) = model.get_parameters()
    width = ov.PartialShape([-1, -1])
    attention_mask = _parameter(width, "attention_mask")
    position_ids = _parameter(width, "position_ids")
    beam_idx = _parameter(ov.PartialShape([-1]), "beam_idx", np.int32)
    input_ids.set_friendly_name("input_ids")
    input_ids.output(0).set_names({"input_ids"})
    position_range.output(0).replace(position_ids.output(0))

    mask = _mask(input_ids, attention_mask, attentions[0].get_element_type())
    sinks = [sink for i, op in enumerate(attentions) for sink in _cache_attention(op, i, beam_idx, mask)]
    logits = model.get_results()[0].input_value(0)
    logits.set_names({"logits"})
    parameters = [input_ids, attention_mask, position_ids, beam_idx]
    stateful = ov.Model([ops.result(logits, name="logits")], sinks, parameters, model.get_friendly_name())
    for section, facts in model.get_rt_info().items():
        stateful.set_rt_info(facts, section)
    return stateful


def with_logits_indices(stateful: ov.Model) -> None:
    """Add the input logits_indices [W], int64 indices into [B * L], to a stateful model; logits become f32 [W, V].

    Only the engine runs this form, and it is never saved: openvino-genai slices by itself.
    Raises NoCachePossible, with the model untouched, where the last op is not the vocabulary's MatMul.
    """
    result = stateful.get_results()[0]
    head = result.input_value(0).get_node()
    hidden = head.input_value(0) if head.get_type_name() == "MatMul" else None
    if hidden is None or hidden.get_partial_shape().rank != ov.Dimension(3):
        raise NoCachePossible("expected the last op to be a MatMul of [B, L, C]")
    indices = _parameter(ov.PartialShape([-1]), "logits_indices")
    width = hidden.get_partial_shape()[2].get_length()
    rows = ops.gather(ops.reshape(hidden, _ints([-1, width]), special_zero=False), indices, _ints(0))
    head.input(0).replace_source_output(rows.output(0))
    stateful.add_parameters([indices])
    stateful.validate_nodes_and_infer_types()


def _find_anchors(model: ov.Model) -> tuple[list[Node], Node]:
    """Return the attention ops in the order of their blocks and the Range that counts positions."""
    if len(model.get_parameters()) != 1 or len(model.get_results()) != 1 or model.get_variables():
        raise NoCachePossible("expected a stateless graph with one input and one output")
    shape = model.input(0).partial_shape
    if len(shape) != 2 or not all(dimension.is_dynamic for dimension in shape):
        raise NoCachePossible("expected an input with dynamic numbers of sequences and tokens")
    ordered = model.get_ordered_ops()
    attentions = [op for op in ordered if op.get_type_name() == "ScaledDotProductAttention"]
    ranges = [op for op in ordered if op.get_type_name() == "Range"]
    if not attentions or len(ranges) != 1:
        raise NoCachePossible(f"found {len(attentions)} ScaledDotProductAttention and {len(ranges)} Range ops")
    if not all(_is_lookup(target) for target in ranges[0].output(0).get_target_inputs()):
        raise NoCachePossible("found positions that are used for more than looking up their embedding")
    if not all(op.get_attributes()["causal"] and op.get_input_size() == 3 for op in attentions):
        raise NoCachePossible("found attention that is not plainly causal")
    if not all(_head_shape(op, 1) and _head_shape(op, 2) for op in attentions):
        raise NoCachePossible("found attention whose keys are not [B, H, L, D] with H and D known")
    return attentions, ranges[0]


def _is_lookup(target: Node) -> bool:
    return bool(target.get_node().get_type_name() == "Gather" and target.get_index() == 1)


def _head_shape(attention: Node, port: int) -> tuple[int, int] | None:
    """Return (H, D) of an input [B, H, L, D], or None where they are not known."""
    shape = attention.input_value(port).get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4 or shape[1].is_dynamic or shape[3].is_dynamic:
        return None
    return shape[1].get_length(), shape[3].get_length()


def _parameter(shape: ov.PartialShape, name: str, dtype: type = np.int64) -> Node:
    parameter = ops.parameter(shape, dtype, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _mask(input_ids: Node, attention_mask: Node, dtype: ov.Type) -> Node:  # -> [B, 1, L, P + L], to be added
    """Return which columns each new token attends to: those up to its own that attention_mask does not hide.

    A token always attends to itself: the softmax over a row of padding alone would otherwise be NaN. The mask is of
    numbers because the CPU plugin is slow with a boolean one: a prefill of 1000 tokens takes nearly twice as long, a
    decoded token a tenth longer.
    """
    new, columns = _length(input_ids, 1), _length(attention_mask, 1)
    own = ops.unsqueeze(ops.range(ops.subtract(columns, new), columns, _ints(1), "i64"), _ints(1))  # [L, 1]
    column = ops.range(_ints(0), columns, _ints(1), "i64")  # [P + L]
    shown = ops.not_equal(ops.unsqueeze(attention_mask, _ints([1, 2])), _ints(0))  # [B, 1, 1, P + L]
    visible = ops.logical_or(ops.logical_and(ops.less(column, own), shown), ops.equal(column, own))
    return ops.select(visible, ops.constant(0.0, dtype=dtype), ops.constant(HIDDEN, dtype=dtype))


def _cache_attention(attention: Node, index: int, beam_idx: Node, mask: Node) -> list[Node]:
    """Put the cache before one attention op; return its two Assign ops, of keys and of values."""
    past_and_new, sinks = [], []
    for port, kind in ((1, "key"), (2, "value")):
        new = attention.input_value(port)
        heads, width = _head_shape(attention, port)  # type: ignore[misc]  # _find_anchors has seen that it is known
        name = f"past_key_values.{index}.{kind}present.{index}.{kind}"  # as openvino-genai names it
        variable = Variable(_variable_info(heads, width, new.get_element_type(), name))
        empty = ops.broadcast(
            ops.constant(0.0, dtype=new.get_element_type()),
            ops.concat([ops.unsqueeze(_length(beam_idx, 0), _ints(0)), _ints([heads, 0, width])], 0),
        )
        past = ops.read_value(empty, variable)
        # The CPU plugin fuses attention with its cache only if this Gather is there.
        both = ops.concat([ops.gather(past, beam_idx, _ints(0)), new], 2)
        past_and_new.append(both)
        sinks.append(ops.assign(both, variable))
    query = attention.input_value(0)
    cached = ops.scaled_dot_product_attention(query, *past_and_new, mask, causal=False)
    cached.set_friendly_name(attention.get_friendly_name())
    attention.output(0).replace(cached.output(0))
    return sinks


def _variable_info(heads: int, width: int, dtype: ov.Type, name: str) -> VariableInfo:
    info = VariableInfo()
    info.data_shape = ov.PartialShape([-1, heads, -1, width])
    info.data_type = dtype
    info.variable_id = name
    return info


def _length(tensor: Node, axis: int) -> Node:  # -> int64 scalar
    return ops.gather(ops.shape_of(tensor), _ints(axis), _ints(0))


def _ints(values: int | list[int]) -> Node:
    return ops.constant(np.array(values, np.int64))

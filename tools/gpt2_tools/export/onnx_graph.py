"""GPT-2 as an ONNX graph with the interface of the ONNX Model Zoo, op by op, without the package onnx.

Independent of the recipe's graph on purpose: each checks the other in the tests.

Letters: B batch, S sequences of each, M = B * S rows, L tokens of a row, P tokens before them, C n_embd, H heads,
D = C / H, V vocabulary.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_recipe import ACTIVATIONS, GPT2Config

OPSET = 10
"""That of the zoo's files: gpt2-10, gpt2-lm-head-10."""

Name: TypeAlias = str
Shape: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True)
class Node:
    """One op: its type, what goes in and what comes out by name, its attributes."""

    kind: str
    name: str
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Nodes in order, small constants by name, and the model's inputs and outputs with their shapes."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[Name, npt.NDArray[Any]] = field(default_factory=dict)
    inputs: dict[Name, Shape] = field(default_factory=dict)
    outputs: dict[Name, Shape] = field(default_factory=dict)
    _seen: Counter[str] = field(default_factory=Counter)

    def op(self, kind: str, *inputs: Name, count: int = 1, **attributes: Any) -> Any:
        """Append a node; return the name of its output, or a tuple of `count` names."""
        name = f"{kind}_{self._seen[kind]}"
        self._seen[kind] += 1
        outputs = tuple(name if count == 1 else f"{name}_{i}" for i in range(count))
        self.nodes.append(Node(kind, name, inputs, outputs, attributes))
        return name if count == 1 else outputs

    def constant(self, value: npt.NDArray[Any]) -> Name:
        """Return the name of a constant, one for all that are equal."""
        name = f"{value.dtype}_{'x'.join(map(str, value.shape))}_{'_'.join(map(str, value.ravel()[:8].tolist()))}"
        self.constants.setdefault(name, value)
        return name

    def ints(self, *values: int) -> Name:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> Name:
        return self.constant(np.array(value, np.float32))

    def output(self, value: Name, shape: Shape) -> None:
        """Make a value the next output: output1, output2, ..."""
        name = f"output{len(self.outputs) + 1}"
        self.nodes.append(Node("Identity", f"Identity_{name}", (value,), (name,), {}))
        self.outputs[name] = shape


def build_graph(config: GPT2Config, *, lm_head: bool, with_past: bool) -> Graph:
    """Return the graph, in which weights are only names, the published ones.

    input1 int64 [B, S, L] -> output1 [B, S, L, V] or, without lm_head, the last hidden states [B, S, L, C], and for
    each block the keys and values so far, [2, M, H, P + L, D]. with_past: input2, ... are those of the tokens before,
    [2, M, H, P, D]; else P is 0.
    """
    graph = Graph()
    graph.inputs["input1"] = ("batch", "sequences", "length")
    width = config.n_embd // config.n_head
    pasts = [f"input{i + 2}" for i in range(config.n_layer)] if with_past else []
    graph.inputs |= dict.fromkeys(pasts, (2, "rows", config.n_head, "past", width))
    shape = graph.op("Shape", "input1")
    length = _slice(graph, shape, graph.ints(2), graph.ints(3))
    past = _slice(graph, graph.op("Shape", pasts[0]), graph.ints(3), graph.ints(4)) if with_past else graph.ints(0)
    total = graph.op("Add", past, length)
    ids = graph.op("Reshape", "input1", graph.op("Concat", graph.ints(-1), length, axis=0))  # [M, L]
    positions = _slice(graph, "wpe.weight", past, total)
    visible = _visible(graph, config, past, total)
    x = graph.op("Add", graph.op("Gather", "wte.weight", ids, axis=0), positions)
    presents = []
    for i in range(config.n_layer):
        x, present = _block(graph, x, f"h.{i}", config, visible, pasts[i] if with_past else None)
        presents.append(present)
    x = _layer_norm(graph, x, "ln_f", config)
    if lm_head:
        head = "wte.weight" if config.tie_word_embeddings else "lm_head.weight"
        x = graph.op("MatMul", x, graph.op("Transpose", head, perm=[1, 0]))
    depth = config.vocab_size if lm_head else config.n_embd
    x = graph.op("Reshape", x, graph.op("Concat", shape, graph.ints(depth), axis=0))
    graph.output(x, ("batch", "sequences", "length", depth))
    for present in presents:
        graph.output(present, (2, "rows", config.n_head, "total" if with_past else "length", width))
    return graph


def _slice(graph: Graph, value: Name, start: Name, stop: Name) -> Name:
    """value[start:stop] along its first axis."""
    return str(graph.op("Slice", value, start, stop, graph.ints(0)))


def _visible(graph: Graph, config: GPT2Config, past: Name, total: Name) -> Name:  # -> bool [L, P + L]
    """Return the causal mask: each new token sees those up to itself."""
    triangle = np.tril(np.ones((config.n_positions, config.n_positions), bool))
    graph.constants["mask"] = triangle
    starts = graph.op("Concat", past, graph.ints(0), axis=0)
    stops = graph.op("Concat", total, total, axis=0)
    return str(graph.op("Slice", "mask", starts, stops, graph.ints(0, 1)))


def _block(
    graph: Graph, x: Name, name: str, config: GPT2Config, visible: Name, past: Name | None
) -> tuple[Name, Name]:  # [M, L, C] -> [M, L, C], [2, M, H, P + L, D]
    normal = _layer_norm(graph, x, f"{name}.ln_1", config)
    mixed, present = _attention(graph, normal, f"{name}.attn", config, visible, past)
    x = graph.op("Add", x, mixed)
    normal = _layer_norm(graph, x, f"{name}.ln_2", config)
    hidden = _gelu(graph, _linear(graph, normal, f"{name}.mlp.c_fc"), config)
    return graph.op("Add", x, _linear(graph, hidden, f"{name}.mlp.c_proj")), present


def _attention(
    graph: Graph, x: Name, name: str, config: GPT2Config, visible: Name, past: Name | None
) -> tuple[Name, Name]:  # [M, L, C] -> [M, L, C], [2, M, H, P + L, D]
    width = config.n_embd // config.n_head
    parts = graph.op("Split", _linear(graph, x, f"{name}.c_attn"), count=3, axis=2, split=[config.n_embd] * 3)
    heads = graph.ints(0, 0, config.n_head, width)
    q, k, v = (graph.op("Transpose", graph.op("Reshape", part, heads), perm=[0, 2, 1, 3]) for part in parts)
    new = graph.op("Concat", graph.op("Unsqueeze", k, axes=[0]), graph.op("Unsqueeze", v, axes=[0]), axis=0)
    present = new if past is None else graph.op("Concat", past, new, axis=3)
    keys, values = (graph.op("Gather", present, graph.constant(np.array(i, np.int64)), axis=0) for i in range(2))
    scores = graph.op("MatMul", q, graph.op("Transpose", keys, perm=[0, 1, 3, 2]))
    scores = graph.op("Div", scores, graph.number(math.sqrt(width)))
    scores = graph.op("Where", visible, scores, graph.number(float(np.finfo(np.float32).min)))
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=3), values)
    merged = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    merged = graph.op("Reshape", merged, graph.ints(0, 0, config.n_embd))
    return _linear(graph, merged, f"{name}.c_proj"), present


def _linear(graph: Graph, x: Name, name: str) -> Name:  # [M, L, in] -> [M, L, out]
    return str(graph.op("Add", graph.op("MatMul", x, f"{name}.weight"), f"{name}.bias"))


def _layer_norm(graph: Graph, x: Name, name: str, config: GPT2Config) -> Name:  # [M, L, C] -> [M, L, C]
    centred = graph.op("Sub", x, graph.op("ReduceMean", x, axes=[-1], keepdims=1))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=[-1], keepdims=1)
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.number(config.layer_norm_epsilon)))
    scaled = graph.op("Mul", graph.op("Div", centred, deviation), f"{name}.weight")
    return str(graph.op("Add", scaled, f"{name}.bias"))


def _gelu(graph: Graph, x: Name, config: GPT2Config) -> Name:  # [...] -> [...]
    if ACTIVATIONS[config.activation_function] == "TANH":
        cube = graph.op("Mul", graph.op("Mul", x, x), graph.op("Mul", x, graph.number(0.044715)))
        inner = graph.op("Mul", graph.op("Add", x, cube), graph.number(math.sqrt(2 / math.pi)))
        gate = graph.op("Tanh", inner)
    else:
        gate = graph.op("Erf", graph.op("Div", x, graph.number(math.sqrt(2))))
    half = graph.op("Mul", x, graph.number(0.5))
    return str(graph.op("Mul", half, graph.op("Add", gate, graph.number(1.0))))


def weight_names(graph: Graph) -> Iterator[Name]:
    """Yield the published names of the weights: the nodes' inputs that no node computes."""
    made = {*graph.inputs, *graph.constants, *(name for node in graph.nodes for name in node.outputs)}
    yield from dict.fromkeys(name for node in graph.nodes for name in node.inputs if name not in made)

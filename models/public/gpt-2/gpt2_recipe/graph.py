"""GPT-2 as an OpenVINO graph, built op by op from config and weights.

model.py beside this package is the same network in PyTorch, for the ONNX route; tests/support/numpy_gpt2.py is an
independent one in numpy that judges both.
Letters: B batch, L length, C n_embd, H heads, D = C / H, V vocabulary.
After "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019) and openai/gpt-2's model.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from gpt2_recipe.config import ACTIVATIONS, GPT2Config
from gpt2_recipe.weights import Weights

Node = Any
"""An ov.Node or ov.Output; OpenVINO's annotations do not let mypy distinguish them."""


def build(config: GPT2Config, weights: Weights) -> ov.Model:
    """Return the stateless model: `input` int64 [B, L], 1 <= L <= n_positions -> `output` f32 [B, L, V].

    The constants are f32; F32 weights are not copied. ov.save_model compresses them to f16.
    """
    constants = _Constants(weights)
    ids = ops.parameter(ov.PartialShape([-1, ov.Dimension(1, config.n_positions)]), np.int64, name="input")
    ids.output(0).set_names({"input"})
    wte = constants["wte.weight"]
    x = ops.add(embed(ids, wte), embed(positions(ids), constants["wpe.weight"]))
    for i in range(config.n_layer):
        x = block(x, constants, f"h.{i}", config)
    x = layer_norm(x, constants, "ln_f", config)
    head = constants["lm_head.weight"] if "lm_head.weight" in weights else wte
    logits = ops.matmul(x, head, transpose_a=False, transpose_b=True)
    logits.output(0).set_names({"output"})
    model = ov.Model([ops.result(logits, name="output")], [ids], "gpt2")
    _name_every_op(model)
    return model


def block(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [B, L, C] -> [B, L, C]
    """Attention and the MLP, each on a normalised copy of the residual stream and added back to it."""
    x = ops.add(x, attention(layer_norm(x, constants, f"{name}.ln_1", config), constants, f"{name}.attn", config))
    return ops.add(x, mlp(layer_norm(x, constants, f"{name}.ln_2", config), constants, f"{name}.mlp", config))


def attention(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [B, L, C] -> [B, L, C]
    """Causal self-attention of n_head heads."""
    qkv = linear(x, constants, f"{name}.c_attn")
    heads = ops.reshape(qkv, _ints([0, 0, 3 * config.n_head, config.n_embd // config.n_head]), special_zero=True)
    heads = ops.transpose(heads, _ints([0, 2, 1, 3]))
    q, k, v = ops.split(heads, _ints(1), 3).outputs()
    mixed = ops.scaled_dot_product_attention(q, k, v, causal=True)
    merged = ops.reshape(ops.transpose(mixed, _ints([0, 2, 1, 3])), _ints([0, 0, config.n_embd]), special_zero=True)
    return linear(merged, constants, f"{name}.c_proj")


def mlp(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [B, L, C] -> [B, L, C]
    """Two linear layers around the activation."""
    hidden = activation(linear(x, constants, f"{name}.c_fc"), config.activation_function)
    return linear(hidden, constants, f"{name}.c_proj")


def activation(x: Node, name: str) -> Node:  # [...] -> [...]
    """Apply an activation function, by transformers' name of it."""
    if name in ACTIVATIONS:
        return ops.gelu(x, ACTIVATIONS[name])
    formulas: dict[str, Callable[[], Node]] = {
        "gelu_10": lambda: ops.clamp(ops.gelu(x, "ERF"), -10.0, 10.0),
        "quick_gelu": lambda: ops.swish(x, _float(1.702)),
        "relu": lambda: ops.relu(x),
        "relu2": lambda: ops.power(ops.relu(x), _float(2.0)),
        "silu": lambda: ops.swish(x),
        "swish": lambda: ops.swish(x),
        "tanh": lambda: ops.tanh(x),
        "mish": lambda: ops.mish(x),
    }
    return formulas[name]()


def linear(x: Node, constants: "_Constants", name: str) -> Node:  # [B, L, in] -> [B, L, out]
    """GPT-2's Conv1D: the weight is stored (in, out)."""
    product = ops.matmul(x, constants[f"{name}.weight"], transpose_a=False, transpose_b=False)
    return ops.add(product, constants[f"{name}.bias"])


def layer_norm(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [B, L, C] -> [B, L, C]
    """Normalise each token's vector, then scale and shift it."""
    normal = ops.mvn(x, _ints([-1]), True, config.layer_norm_epsilon, "inside_sqrt")
    return ops.add(ops.multiply(normal, constants[f"{name}.weight"]), constants[f"{name}.bias"])


def embed(indices: Node, table: Node) -> Node:  # [..., L] -> [..., L, C]
    """Look up rows of an embedding table."""
    return ops.gather(table, indices, _ints(0))


def positions(ids: Node) -> Node:  # [B, L] -> [L]
    """0 .. L-1."""
    length = ops.gather(ops.shape_of(ids), _ints(1), _ints(0))
    return ops.range(_ints(0), length, _ints(1), "i64")


class _Constants:
    """One constant per weight, made at its first use, so that a tied head shares the embedding's."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._made: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        if name not in self._made:
            self._made[name] = ops.constant(self._weights[name].as_f32(), shared_memory=True, name=name)
        return self._made[name]


def _ints(values: int | Sequence[int]) -> Node:
    return ops.constant(np.array(values, np.int64))


def _float(value: float) -> Node:
    return ops.constant(np.float32(value))


def _name_every_op(model: ov.Model) -> None:
    """Name the ops without a name of their own by type and order: OpenVINO's default names differ between builds."""
    seen: Counter[str] = Counter()
    kept = ("h.", "wte", "wpe", "ln_f", "lm_head", "input", "output")
    for op in model.get_ordered_ops():
        if not op.get_friendly_name().startswith(kept):
            kind = op.get_type_name()
            op.set_friendly_name(f"{kind}_{seen[kind]}")
            seen[kind] += 1

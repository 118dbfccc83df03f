"""GPT-2 as an OpenVINO graph, built op by op from config and weights.

model.py beside this package is the same network in PyTorch, for the ONNX route; tests/support/numpy_gpt2.py is an
independent one in numpy that judges both.
Letters: B batch, L length, C n_embd, H heads, D = C / H, V vocabulary, N labels.
After "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019) and openai/gpt-2's model.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from gpt2_recipe.classification import HEAD
from gpt2_recipe.config import ACTIVATIONS, GPT2Config
from gpt2_recipe.weights import Weights

Node = Any
"""An ov.Node or ov.Output; OpenVINO's annotations do not let mypy distinguish them."""


def build(config: GPT2Config, weights: Weights) -> ov.Model:
    """Return the stateless model: `input` int64 [B, L], 1 <= L <= n_positions -> `output` f32 [B, L, V].

    A model of N labels has the output [B, N]: of each row's last token that is not the pad token; of its last one,
    where there is no pad token. The last layer computes nothing after the attention for the others.
    The constants are f32; F32 weights are not copied. ov.save_model compresses them to f16.
    """
    constants = _Constants(weights)
    ids = ops.parameter(ov.PartialShape([-1, ov.Dimension(1, config.n_positions)]), np.int64, name="input")
    ids.output(0).set_names({"input"})
    wte = constants["wte.weight"]
    x = ops.add(embed(ids, wte), embed(positions(ids), constants["wpe.weight"]))
    for i in range(config.n_layer - 1):
        x = block(x, constants, f"h.{i}", config, all_positions)
    labels = config.classification
    kept = all_positions if labels is None else position(last_token(ids, labels.pad_token_id))
    x = block(x, constants, f"h.{config.n_layer - 1}", config, kept)
    x = layer_norm(x, constants, "ln_f", config)
    head = HEAD if labels is not None else "lm_head.weight" if "lm_head.weight" in weights else "wte.weight"
    logits = ops.matmul(x, constants[head], transpose_a=False, transpose_b=True)
    logits.output(0).set_names({"output"})
    model = ov.Model([ops.result(logits, name="output")], [ids], "gpt2")
    _name_every_op(model)
    return model


def all_positions(x: Node) -> Node:  # [B, L, C] -> [B, L, C]
    """Keep all tokens' vectors."""
    return x


def position(indices: Node) -> Callable[[Node], Node]:  # [B]
    """Return a function that keeps one token's vector of each row, [B, L, C] -> [B, C]."""
    return lambda x: ops.gather(x, indices, _ints(1), batch_dims=1)


def last_token(ids: Node, pad_token_id: int | None) -> Node:  # [B, L] -> [B]
    """The index of each row's last token that is not the pad token, 0 if all are; -1 of all where there is none."""
    if pad_token_id is None:
        return ops.broadcast(_ints(-1), ops.gather(ops.shape_of(ids), _ints([0]), _ints(0)))
    is_text = ops.convert(ops.not_equal(ids, _ints(pad_token_id)), "i64")
    return ops.reduce_max(ops.multiply(is_text, positions(ids)), _ints([1]))


def block(
    x: Node, constants: "_Constants", name: str, config: GPT2Config, kept: Callable[[Node], Node]
) -> Node:  # [B, L, C] -> kept([B, L, C])
    """Attention and the MLP, each on a normalised copy of the residual stream and added back to it."""
    normal = layer_norm(x, constants, f"{name}.ln_1", config)
    x = ops.add(kept(x), attention(normal, constants, f"{name}.attn", config, kept))
    return ops.add(x, mlp(layer_norm(x, constants, f"{name}.ln_2", config), constants, f"{name}.mlp", config))


def attention(
    x: Node, constants: "_Constants", name: str, config: GPT2Config, kept: Callable[[Node], Node]
) -> Node:  # [B, L, C] -> kept([B, L, C])
    """Causal self-attention of n_head heads."""
    qkv = linear(x, constants, f"{name}.c_attn")
    heads = ops.reshape(qkv, _ints([0, 0, 3 * config.n_head, config.n_embd // config.n_head]), special_zero=True)
    heads = ops.transpose(heads, _ints([0, 2, 1, 3]))
    q, k, v = ops.split(heads, _ints(1), 3).outputs()
    mixed = ops.scaled_dot_product_attention(q, k, v, causal=True)
    merged = ops.reshape(ops.transpose(mixed, _ints([0, 2, 1, 3])), _ints([0, 0, config.n_embd]), special_zero=True)
    return linear(kept(merged), constants, f"{name}.c_proj")


def mlp(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [..., C] -> [..., C]
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


def linear(x: Node, constants: "_Constants", name: str) -> Node:  # [..., in] -> [..., out]
    """GPT-2's Conv1D: the weight is stored (in, out)."""
    product = ops.matmul(x, constants[f"{name}.weight"], transpose_a=False, transpose_b=False)
    return ops.add(product, constants[f"{name}.bias"])


def layer_norm(x: Node, constants: "_Constants", name: str, config: GPT2Config) -> Node:  # [..., C] -> [..., C]
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
    kept = ("h.", "wte", "wpe", "ln_f", "lm_head", HEAD, "input", "output")
    for op in model.get_ordered_ops():
        if not op.get_friendly_name().startswith(kept):
            kind = op.get_type_name()
            op.set_friendly_name(f"{kind}_{seen[kind]}")
            seen[kind] += 1

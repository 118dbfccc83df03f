"""GPT-2's forward pass in numpy, f64, straight from a state dict: the oracle of these tests.

It shares no line with the graph it judges. Letters: L tokens, C n_embd, H heads, D = C / H, V vocabulary.
"""

import math

import numpy as np

State = dict[str, np.ndarray]
"""Published name, without the prefix `transformer.` -> values."""


def logits(ids, state: State, n_head: int, epsilon=1e-5, activation="gelu_new", scale=None):  # [L] -> [L, V]
    """`scale`: of a layer's attention scores, given the layer and D; 1 / sqrt(D) if it is None."""
    state = {name: values.astype(np.float64) for name, values in state.items()}
    n_layer = sum(name.endswith("ln_1.weight") for name in state)
    x = state["wte.weight"][ids] + state["wpe.weight"][: len(ids)]
    for i in range(n_layer):
        p = {name.removeprefix(f"h.{i}."): v for name, v in state.items() if name.startswith(f"h.{i}.")}
        width = x.shape[1] // n_head
        x = x + attention(norm(x, p, "ln_1", epsilon), p, n_head, scale(i, width) if scale else 1 / math.sqrt(width))
        x = x + mlp(norm(x, p, "ln_2", epsilon), p, activation)
    return norm(x, state, "ln_f", epsilon) @ state.get("lm_head.weight", state["wte.weight"]).T


def attention(x, p: State, n_head: int, scale: float):  # [L, C] -> [L, C]
    q, k, v = np.split(linear(x, p, "attn.c_attn"), 3, axis=-1)
    width = q.shape[1] // n_head
    heads = [one_head(*(part[:, h * width : (h + 1) * width] for part in (q, k, v)), scale) for h in range(n_head)]
    return linear(np.hstack(heads), p, "attn.c_proj")


def one_head(q, k, v, scale: float):  # [L, D], [L, D], [L, D] -> [L, D]
    out = np.empty_like(q)
    for t in range(len(q)):
        scores = k[: t + 1] @ q[t] * scale
        share = np.exp(scores - scores.max())
        out[t] = share / share.sum() @ v[: t + 1]
    return out


def mlp(x, p: State, activation: str):  # [L, C] -> [L, C]
    return linear(ACTIVATIONS[activation](linear(x, p, "mlp.c_fc")), p, "mlp.c_proj")


def linear(x, p: State, name: str):  # [L, in] -> [L, out]
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def norm(x, p: State, name: str, epsilon: float):  # [L, C] -> [L, C]
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return centred / deviation * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu_tanh(x):  # [...] -> [...]
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):  # [...] -> [...]
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def sigmoid(x):  # [...] -> [...]
    return 1 / (1 + np.exp(-x))


def mish(x):  # [...] -> [...]
    return x * np.tanh(np.log1p(np.exp(x)))


ACTIVATIONS = {
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu": gelu_erf,
    "gelu_python": gelu_erf,
    "gelu_10": lambda x: np.clip(gelu_erf(x), -10, 10),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "mish": mish,
}

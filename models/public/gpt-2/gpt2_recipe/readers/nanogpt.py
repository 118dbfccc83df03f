"""Read nanoGPT's checkpoints (ckpt.pt) as config and weights under Hugging Face's names.

After karpathy/nanoGPT's model.py and train.py: the dictionary has `model`, `model_args`, and the optimizer's state.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_recipe.config import GPT2_EOS, GPT2Config, config_of, positive_int
from gpt2_recipe.memory import check_memory
from gpt2_recipe.readers.torch_file import tensors_of
from gpt2_recipe.tensor import STORED_AS, StoredTensor, tensor_of
from gpt2_recipe.weights import Weights, expected_shapes

ARGS = "model_args"
FIELDS = {
    "vocab_size": "vocab_size",
    "block_size": "n_positions",
    "n_embd": "n_embd",
    "n_head": "n_head",
    "n_layer": "n_layer",
}
"""Name of a field in model_args -> its name in config.json."""
LINEAR = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
"""The weights that are (out, in) there and (in, out) in GPT-2."""
GPT2_SIZES = (50257, 50304)
"""The sizes of a vocabulary that is GPT-2's, the second padded to a multiple of 64."""


def is_nanogpt(loaded: Mapping[str, Any]) -> bool:
    """Whether a loaded file is a checkpoint of nanoGPT."""
    return isinstance(loaded.get(ARGS), dict) and isinstance(loaded.get("model"), dict)


def read_nanogpt(path: Path, loaded: Mapping[str, Any]) -> tuple[GPT2Config, dict[str, StoredTensor]]:
    """Return the configuration and the weights of a loaded checkpoint, as they lie there, for `from_linear`.

    Raises Problem for settings that are missing or broken, and tensors that are none.
    """
    args = loaded[ARGS]
    fields = {published_name: positive_int(path, args, name, 0) for name, published_name in FIELDS.items()}
    end = GPT2_EOS if fields["vocab_size"] in GPT2_SIZES else None
    config = config_of(path, {**fields, "activation_function": "gelu", "eos_token_id": end, "bos_token_id": end})
    return config, tensors_of(path, loaded)


def is_linear(config: GPT2Config, weights: Weights) -> bool:
    """Whether weights lie as nanoGPT's Linear layers have them, which are (out, in) where GPT-2's are (in, out)."""
    shapes = {weights[name].shape for name in weights if name.endswith(LINEAR[0])}
    return shapes == {(3 * config.n_embd, config.n_embd)}


def from_linear(path: Path, config: GPT2Config, weights: Weights) -> Weights:
    """Return nanoGPT's weights as GPT-2's; a model without any bias gets biases of zeros, which are the same."""
    linear = {name: tensor for name, tensor in weights.items() if name.endswith(LINEAR)}
    check_memory(path, sum(4 * math.prod(tensor.shape) for tensor in linear.values()))
    found = weights | {name: _transposed(tensor) for name, tensor in linear.items()}
    return found if any(name.endswith(".bias") for name in found) else _zero_biases(config) | found


def _transposed(tensor: StoredTensor) -> StoredTensor:  # [out, in] -> [in, out]
    if tensor.dtype not in STORED_AS or len(tensor.shape) != 2:
        return tensor  # match_weights refuses it
    return tensor_of(tensor.as_f32().T)


def _zero_biases(config: GPT2Config) -> dict[str, StoredTensor]:
    """Return the biases that a model without them behaves as if it had."""
    shapes = expected_shapes(config).items()
    return {name: tensor_of(np.zeros(shape, np.float32)) for name, shape in shapes if name.endswith(".bias")}

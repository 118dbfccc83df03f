"""Merge a LoRA or DoRA adapter into the weights that it was trained on, as peft's merge_and_unload does.

After peft's tuners/lora: layer.py (Linear and Embedding) and dora.py.
Letters: in and out, the widths of a layer; r, the rank of its update.
"""

import math
import re

import numpy as np
import numpy.typing as npt

from gpt2_recipe.memory import check_memory
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.readers.peft_adapter import MERGE_WITH_PEFT, PeftAdapter
from gpt2_recipe.tensor import STORED_AS, StoredTensor, tensor_of
from gpt2_recipe.weights import Weights

Values = npt.NDArray[np.float32]

LAYER = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)|lm_head")
UPDATE = re.compile(r"(.+)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B)")
MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.weight)?")


def merge(adapter: PeftAdapter, base: Weights, *, tied: bool) -> Weights:
    """Return the base's weights, under published names, with the adapter merged in f32.

    tied: the head is the embedding, so that an update of one is an update of the other, as in peft.
    Raises Problem for a tensor that is none of the adapter's kind, or does not fit the base.
    """
    updates, replaced = _sorted(adapter)
    merged = {name: tensor for name, tensor in base.items() if not tied or name != "lm_head.weight"}
    for name, tensor in replaced.items():
        _replace(adapter, merged, name, tensor, tied=tied)
    touched = [merged[name] for module in updates if (name := _weight(module, merged)) in merged]
    check_memory(adapter.path, sum(4 * math.prod(tensor.shape) for tensor in touched))
    for module, parts in updates.items():
        name = _weight(module, merged)
        if name not in merged:
            raise _unfit(adapter, module, "expected a layer of the base model, which has none such")
        merged[name] = tensor_of(_updated(adapter, module, merged[name], parts))
        if "lora_B.bias" in parts:
            name = name.replace(".weight", ".bias")
            merged[name] = tensor_of(_updated_bias(adapter, module, merged.get(name), parts))
    return merged


def _sorted(adapter: PeftAdapter) -> tuple[dict[str, Weights], Weights]:
    """Return the parts of each module's update, and the weights that are replaced, by their published names."""
    updates: dict[str, Weights] = {}
    replaced: Weights = {}
    for name, tensor in adapter.tensors.items():
        if match := MAGNITUDE.fullmatch(name):
            updates.setdefault(match[1], {})["magnitude"] = tensor
        elif match := UPDATE.fullmatch(name):
            updates.setdefault(match[1], {})[match[2]] = tensor
        else:
            replaced[re.sub(r"\.(base_layer|modules_to_save)\b", "", name).removeprefix("transformer.")] = tensor
    return updates, replaced


def _weight(module: str, weights: Weights) -> str:
    """Return the published name of a module's weight; that of a tied head is the embedding's."""
    name = f"{module.removeprefix('transformer.')}.weight"
    return "wte.weight" if name == "lm_head.weight" and name not in weights else name


def _replace(adapter: PeftAdapter, merged: Weights, name: str, tensor: StoredTensor, *, tied: bool) -> None:
    """Put a whole weight in; the other end of a tie is left as it was where the module alone was trained."""
    alone = name.rpartition(".")[0] in adapter.saved_modules
    if tied and alone and name == "wte.weight":
        merged.setdefault("lm_head.weight", merged["wte.weight"])
    if tied and not alone and name == "lm_head.weight":
        name = "wte.weight"
    if name not in merged and name != "lm_head.weight":
        raise _unfit(adapter, name, "expected a weight of the base model, which has none such")
    merged[name] = tensor


def _updated(adapter: PeftAdapter, module: str, base: StoredTensor, parts: Weights) -> Values:
    """Return a weight with its update: + scaling * B A, and for DoRA scaled to the lengths that were learned."""
    embedding = "lora_embedding_A" in parts
    if embedding != (module.removeprefix("transformer.") in ("wte", "wpe")) or (
        not embedding and not LAYER.fullmatch(module.removeprefix("transformer."))
    ):
        raise _unfit(adapter, module, f"expected a linear layer or an embedding of GPT-2; {MERGE_WITH_PEFT}")
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    a, b = (_values(adapter, module, name, parts.get(name)) for name in names)  # [r, in], [out, r]
    transposed = not module.endswith("lm_head")  # a Conv1D's weight is [in, out], an embedding's too
    shape = base.shape[::-1] if transposed else base.shape
    if not (a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] > 0 and (b.shape[0], a.shape[1]) == shape):
        got = f"expected an update of {list(shape)}, got {list(b.shape)} times {list(a.shape)}"
        raise _unfit(adapter, module, f"{got}; is this the model that the adapter was trained on?")
    delta = np.float32(adapter.scaling(module, a.shape[0])) * (b @ a)
    weight: Values = _values(adapter, module, "base weight", base) + (delta.T if transposed else delta)
    if "magnitude" not in parts:
        return weight
    if embedding:
        raise _unfit(adapter, module, f"DoRA of an embedding is not merged here; {MERGE_WITH_PEFT}")
    magnitude = _values(adapter, module, "magnitude", parts["magnitude"])  # [out]
    if magnitude.shape != b.shape[:1]:
        raise _unfit(adapter, module, f"expected magnitudes of {list(b.shape[:1])}, got {list(magnitude.shape)}")
    factor: Values = magnitude / np.linalg.norm(weight, axis=0 if transposed else 1)
    return weight * (factor if transposed else factor[:, None])


def _updated_bias(adapter: PeftAdapter, module: str, base: StoredTensor | None, parts: Weights) -> Values:
    """Return a bias with its update, which LoraConfig's lora_bias adds."""
    bias, added = (_values(adapter, module, "bias", tensor) for tensor in (base, parts["lora_B.bias"]))
    if bias.shape != added.shape:
        raise _unfit(adapter, module, f"expected a bias of {list(bias.shape)}, got {list(added.shape)}")
    return bias + np.float32(adapter.scaling(module, parts["lora_B.weight"].shape[1])) * added


def _values(adapter: PeftAdapter, module: str, name: str, tensor: StoredTensor | None) -> Values:
    if tensor is None:
        raise _unfit(adapter, module, f"expected its {name}, got none; fetch the file again")
    if tensor.dtype not in STORED_AS:
        raise _unfit(adapter, module, f"{name}: expected {', '.join(STORED_AS)}, got {tensor.dtype}")
    return tensor.as_f32()


def _unfit(adapter: PeftAdapter, name: str, why: str) -> Problem:
    return Problem(f"{adapter.path}: {one_line(name)}: {why}")

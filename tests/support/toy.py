"""Toy checkpoints of GPT-2, made on the fly: config.json, model.safetensors, vocab.json, merges.txt, and the IR of it.

Weights are random and large enough that logits differ clearly, that attention is not flat, and that positions matter.
"""

import json
import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

import gpt2_recipe
from support import numpy_gpt2

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
ONE_THREAD = {**EXACT, "INFERENCE_NUM_THREADS": "1"}
"""For toys: to share one among threads costs more than to compute it."""
DEVICES_OF_A_CPU = ("AUTO", "MULTI:CPU", "HETERO:CPU")
"""Devices that run a model on others; the tests have a CPU alone."""
END_OF_TEXT = "<|endoftext|>"
HAS_PAGED_ATTENTION = int(ov.get_version()[:4]) >= 2026
"""Tried: openvino 2025.0 to 2025.4 have another, 2026.0 and 2026.4 the one that we use."""
READS_ANY_PATH = tuple(map(int, ov.get_version().split(".")[:2])) >= (2026, 1)
"""Tried: openvino 2025.0 to 2026.0 read none that is not UTF-8, 2026.1 to 2026.4 do."""


@dataclass(frozen=True)
class Toy:
    """A GPT-2 of any size; two that are equal have the same weights and the same vocabulary."""

    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 12
    n_positions: int = 16
    n_inner: int | None = None
    vocab_size: int = 300
    eos_token_id: int | None = None  # None: the last one
    dtype: str = "F32"
    prefix: str = ""
    masks: bool = False
    tied: bool = True
    activation: str = "gelu_new"
    epsilon: float = 1e-5
    inverse_layer: bool = False  # scale_attn_by_inverse_layer_idx
    unscaled: bool = False  # scale_attn_weights: false
    seed: int = 0

    @property
    def end_of_text_id(self) -> int:
        return self.vocab_size - 1 if self.eos_token_id is None else self.eos_token_id

    @cached_property
    def state(self) -> numpy_gpt2.State:
        """The weights under their published names, f32, as the dtype rounds them."""
        rng = np.random.default_rng(self.seed)
        width, inner = self.n_embd, self.n_inner or 4 * self.n_embd
        shapes = {"wte.weight": (self.vocab_size, width), "wpe.weight": (self.n_positions, width)}
        for i in range(self.n_layer):
            for name in ("ln_1", "ln_2"):
                shapes |= {f"h.{i}.{name}.weight": (width,), f"h.{i}.{name}.bias": (width,)}
            linears = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
            linears |= {"mlp.c_fc": (width, inner), "mlp.c_proj": (inner, width)}
            for name, shape in linears.items():
                shapes |= {f"h.{i}.{name}.weight": shape, f"h.{i}.{name}.bias": shape[1:]}
        shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return {name: rounded(rng.normal(_mean(name), _spread(name), s), self.dtype) for name, s in shapes.items()}

    @property
    def config(self) -> dict[str, Any]:
        return {
            "model_type": "gpt2",
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_embd": self.n_embd,
            "n_positions": self.n_positions,
            "n_inner": self.n_inner,
            "vocab_size": self.vocab_size,
            "eos_token_id": self.end_of_text_id,
            "activation_function": self.activation,
            "layer_norm_epsilon": self.epsilon,
            "tie_word_embeddings": self.tied,
            "scale_attn_by_inverse_layer_idx": self.inverse_layer,
            "scale_attn_weights": not self.unscaled,
        }

    @property
    def tensors(self) -> dict[str, tuple[str, np.ndarray]]:
        """The content of the file: name -> (dtype, stored array)."""
        found = {self.prefix + name: (self.dtype, stored(values, self.dtype)) for name, values in self.state.items()}
        if self.masks:
            triangle = np.tril(np.ones((self.n_positions, self.n_positions), np.uint8))[None, None]
            for i in range(self.n_layer):
                found[f"{self.prefix}h.{i}.attn.bias"] = ("BOOL", triangle)
                found[f"{self.prefix}h.{i}.attn.masked_bias"] = ("F32", np.float32(-1e4).reshape(()))
        return found

    def logits(self, ids) -> np.ndarray:  # [L] -> [L, V]
        """What the oracle says."""
        return _logits(self, tuple(map(int, ids)))

    def attention_scale(self, layer: int, width: int) -> float:
        """What the scores of a layer are multiplied by; `width`: of a head."""
        return (1.0 if self.unscaled else width**-0.5) / (layer + 1 if self.inverse_layer else 1)

    def greedy(self, ids, count: int) -> list[int]:
        """The likeliest continuation of ids, by the oracle."""
        whole = list(ids)
        for _ in range(count):
            whole.append(int(self.logits(whole)[-1].argmax()))
        return whole[len(ids) :]

    def write(self, folder: Path) -> Path:
        """Write the checkpoint; return its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        write_safetensors(folder / "model.safetensors", self.tensors)
        self.write_vocabulary(folder)
        return folder

    def write_vocabulary(self, folder: Path) -> None:
        """Write a byte-level vocabulary of vocab_size tokens: bytes, a few merges of two, the end of text."""
        pairs = [(a, b) for a in "Ġetaoinsh" for b in "etaoinshrdlu"][: max(0, self.vocab_size - 257)]
        tokens = [*[*BYTE_SYMBOLS, *(a + b for a, b in pairs)][: self.vocab_size - 1], END_OF_TEXT]
        assert len(tokens) == self.vocab_size
        tokens[-1], tokens[self.end_of_text_id] = tokens[self.end_of_text_id], tokens[-1]
        folder.joinpath("vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in pairs)]
        folder.joinpath("merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_tokenizer_that_begins_texts(self, folder: Path) -> None:
        """Write a tokenizer.json of that vocabulary, which puts the end of text before every text."""
        tokenizer = Tokenizer(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special = [(END_OF_TEXT, self.end_of_text_id)]
        tokenizer.post_processor = processors.TemplateProcessing(f"{END_OF_TEXT} $A", None, special)
        tokenizer.save(str(folder / "tokenizer.json"))

    def model(self, folder: Path) -> ov.Model:
        """The recipe's model of this checkpoint, with its facts, as the converter saves it."""
        conversion = gpt2_recipe.convert(self.write(folder))
        for section, facts in conversion.facts.items():
            for name, fact in facts.items():
                conversion.model.set_rt_info(str(fact), [section, name])
        return conversion.model

    def ir(self, folder: Path) -> Path:
        """Convert to an FP32 IR with the vocabulary beside it; return the path of its .xml."""
        return save(self.model(folder), folder / "toy.xml")


def save(model: ov.Model, path: Path) -> Path:
    """Write an IR without compression; return its path."""
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def compiled(model: ov.Model) -> ov.CompiledModel:
    """The model on the CPU, in exact mode."""
    return ov.Core().compile_model(model, "CPU", ONE_THREAD)


def without_attention_ops(model: ov.Model) -> ov.Model:
    """Replace every ScaledDotProductAttention by the ops it stands for, as older converters write it."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            op.output(0).replace(_plain_attention(*(op.input_value(port) for port in range(3))).output(0))
    model.validate_nodes_and_infer_types()
    return model


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the rounding of f32."""
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max(initial=0)))


def write_safetensors(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> Path:
    """Write (dtype, array) by name, in the order given; return the path."""
    header, end = {}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    path.write_bytes(safetensors_bytes(json.dumps(header).encode(), b"".join(a.tobytes() for _, a in tensors.values())))
    return path


def safetensors_bytes(header: bytes, data: bytes) -> bytes:
    """The bytes of a file, right or wrong."""
    return struct.pack("<Q", len(header)) + header + data


def load_weights(folder: Path) -> gpt2_recipe.Weights:
    """Return the weights of a checkpoint folder, matched with its config.json."""
    source = gpt2_recipe.open_checkpoint(folder)
    return gpt2_recipe.match_weights(source.path, source.tensors, source.config)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:  # [...] -> f32 [...]
    """The nearest values that the dtype can hold (for BF16 the next one towards zero)."""
    if dtype == "F16":
        return values.astype(np.float16).astype(np.float32)
    return (values.astype(np.float32).view(np.uint32) & (0xFFFF0000 if dtype == "BF16" else 0xFFFFFFFF)).view(
        np.float32
    )


def stored(values: np.ndarray, dtype: str) -> np.ndarray:  # f32 [...] -> [...]
    """The array whose bytes a file of the dtype holds."""
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2")
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype])


@lru_cache(maxsize=20000)
def _logits(toy: Toy, ids: tuple[int, ...]) -> np.ndarray:
    return numpy_gpt2.logits(list(ids), toy.state, toy.n_head, toy.epsilon, toy.activation, toy.attention_scale)


def _mean(name: str) -> float:
    return 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0


def _spread(name: str) -> float:
    return 1.0 if name in ("wte.weight", "wpe.weight", "lm_head.weight") else 0.4


def _plain_attention(q, k, v):  # [B, H, L, D] three times -> [B, H, L, D]
    width = q.get_partial_shape()[3].get_length()
    scores = ops.multiply(ops.matmul(q, k, False, True), ops.constant(np.float32(width**-0.5)))
    length = ops.gather(ops.shape_of(q), _ints(2), _ints(0))
    place = ops.range(_ints(0), length, _ints(1), "i64")
    later = ops.less(ops.unsqueeze(place, _ints(1)), ops.unsqueeze(place, _ints(0)))  # [L, L]
    hidden = ops.select(later, ops.constant(np.float32(-1e30)), scores)
    return ops.matmul(ops.softmax(hidden, 3), v, False, False)


def _ints(value: int):
    return ops.constant(np.array(value, np.int64))


def _byte_symbols() -> list[str]:
    plain = [chr(b) for b in range(256) if 33 <= b <= 126 or (161 <= b <= 255 and b != 173)]
    shifted = [chr(256 + n) for n in range(256 - len(plain))]
    return [*plain, *shifted]


BYTE_SYMBOLS = _byte_symbols()
"""The 256 characters that stand for bytes in a byte-level vocabulary, in the order of GPT-2's."""

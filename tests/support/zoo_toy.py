"""A toy GPT-2 with the interface of the ONNX Model Zoo's files, exported from PyTorch: gpt2-10 and gpt2-lm-head-10.

input1 int64 [d1, d2, d3] -> output1, hidden states or scores [d1, d2, d3, ...], and output2, output3, ...: the keys
and values of each block, [2, d2, H, d3, D]; opset 10. Needs PyTorch and onnx, so that it is imported inside tests.
"""

import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch.nn import functional

from support.toy import Toy


class ZooToy(torch.nn.Module):
    """As huggingface's exporter of that time traced it: rows are flattened on the way in, and restored."""

    def __init__(self, toy: Toy, lm_head: bool = True) -> None:
        super().__init__()
        self.toy = toy
        self.lm_head = lm_head
        for name, values in toy.state.items():
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(values.copy()))

    def forward(self, input1):  # [d1, d2, d3] -> [d1, d2, d3, V or C], n_layer times [2, d1 * d2, H, d3, D]
        ids = input1.reshape(-1, input1.shape[2])
        x = functional.embedding(ids, self.of("wte.weight")) + self.of("wpe.weight")[: ids.shape[1]]
        presents = []
        for i in range(self.toy.n_layer):
            mixed, present = self.attention(self.norm(x, f"h.{i}.ln_1"), f"h.{i}.attn")
            x = x + mixed
            hidden = functional.gelu(self.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
            x = x + self.linear(hidden, f"h.{i}.mlp.c_proj")
            presents.append(present)
        x = self.norm(x, "ln_f")
        if self.lm_head:
            x = x @ self.of("wte.weight").T
        return (x.reshape(*input1.shape, x.shape[2]), *presents)

    def attention(self, x, name):  # [N, L, C] -> [N, L, C], [2, N, H, L, D]
        heads = [self.toy.n_head, self.toy.n_embd // self.toy.n_head]
        parts = self.linear(x, f"{name}.c_attn").split(self.toy.n_embd, dim=2)
        q, k, v = (part.reshape(*x.shape[:2], *heads).transpose(1, 2) for part in parts)
        n = self.toy.n_positions
        triangle = torch.tril(torch.ones(n, n, dtype=torch.uint8))[: x.shape[1], : x.shape[1]].bool()
        scores = torch.where(triangle, q @ k.transpose(2, 3) / math.sqrt(heads[1]), torch.tensor(-1e4))
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(x.shape)
        return self.linear(mixed, f"{name}.c_proj"), torch.stack([k, v])

    def linear(self, x, name):
        return x @ self.of(f"{name}.weight") + self.of(f"{name}.bias")

    def norm(self, x, name):
        shape = (self.toy.n_embd,)
        return functional.layer_norm(x, shape, self.of(f"{name}.weight"), self.of(f"{name}.bias"), self.toy.epsilon)

    def of(self, name):
        return getattr(self, name.replace(".", "_"))


def write_zoo_model(path: Path, toy: Toy, lm_head: bool = True) -> Path:
    """Export to `path`, the vocabulary beside it; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    outputs = [f"output{i + 1}" for i in range(1 + toy.n_layer)]
    axes = {"input1": {0: "d1", 1: "d2", 2: "d3"}, "output1": {0: "d1", 1: "d2", 2: "d3"}}
    axes |= {name: {1: "d2", 3: "d3"} for name in outputs[1:]}
    ids = torch.zeros(1, 1, 8, dtype=torch.int64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ZooToy(toy, lm_head),
            (ids,),
            str(path),
            input_names=["input1"],
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=10,
            dynamo=False,
        )
    toy.write_vocabulary(path.parent)
    return path


def write_test_data(folder: Path, toy: Toy, ids: list[int], lm_head: bool = True) -> Path:
    """folder/test_data_set_0 with what PyTorch answers to ids [1, 1, L]; return its path."""
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    given = torch.tensor([[ids]])
    with torch.no_grad():
        answers = ZooToy(toy, lm_head)(given)
    write_tensor(data / "input_0.pb", given.numpy(), "input1")
    for i, answer in enumerate(answers):
        write_tensor(data / f"output_{i}.pb", answer.numpy(), f"output{i + 1}")
    return data


def write_tensor(path: Path, values: np.ndarray, name: str = "") -> Path:
    path.write_bytes(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name).SerializeToString())
    return path

"""Which files of a repository are fetched: small ones, and one kind of weights."""

from functools import partial

import pytest

from gpt2_recipe import Problem, hub_files
from support.refusal import refused

refusal = partial(refused, Problem, hub_files)
BESIDE = ["README.md", "onnx/model.onnx", "tf_model.h5", "rust_model.ot", ".gitattributes"]
SMALL = ["config.json", "merges.txt", "tokenizer.json", "vocab.json"]


@pytest.mark.parametrize(
    ("weights", "others"),
    [
        (["model.safetensors"], ["pytorch_model.bin", "model.fp16.safetensors"]),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"], []),
        (["pytorch_model.bin"], ["pytorch_model-00001-of-00001.bin"]),
        (["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"], ["model-00001-of-00001.safetensors"]),
        (["adapter_config.json", "adapter_model.safetensors"], ["adapter_model.bin", "training_args.bin"]),
        (["adapter_config.json", "adapter_model.bin"], []),
        (["adapter_config.json", "adapter_model.safetensors", "model.safetensors"], ["adapter_model.bin"]),
    ],
)
def test_one_kind_of_weights_and_an_adapter_beside_it(weights, others):
    assert hub_files([*BESIDE, *SMALL, *weights, *others]) == sorted([*SMALL, *weights])


@pytest.mark.parametrize(
    ("names", "about"),
    [
        ([], "the repository has no file"),
        (["README.md"], "the repository has README.md"),
        (["config.json", "tf_model.h5"], "the repository holds tf_model.h5, weights of TensorFlow; load it with"),
        (["config.json", "gpt2.Q8_0.gguf"], "the repository holds gpt2.Q8_0.gguf, a GGUF file of llama.cpp"),
    ],
)
def test_a_repository_without_weights_that_are_read_says_what_it_has(names, about):
    assert about in refusal(names, about="expected weights in one of model.safetensors, ")

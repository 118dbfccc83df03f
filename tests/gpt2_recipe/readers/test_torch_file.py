"""A pytorch_model.bin gives the model of its tensors, or one line; its code is never run."""

import os
import pickle
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_recipe import Problem, convert
from gpt2_recipe.readers.torch_file import read_torch
from support import HANGS_AFTER
from support.refusal import refused
from support.toy import Toy, assert_close, compiled

pytestmark = pytest.mark.extras("torch")

TOY = Toy(prefix="transformer.", masks=True)


class Code:
    """The content of a malicious pickle: a call that creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def torch():
    import torch  # noqa: PLC0415

    return torch


def state_of(torch, toy: Toy = TOY) -> dict:
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[toy.dtype]
    found = {toy.prefix + name: torch.tensor(values).to(dtype) for name, values in toy.state.items()}
    for i in range(toy.n_layer if toy.masks else 0):
        found[f"{toy.prefix}h.{i}.attn.bias"] = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    return found


def write(folder: Path, torch, toy: Toy = TOY, **options) -> Path:
    """Write the toy with a pytorch_model.bin alone; return the folder."""
    toy.write(folder)
    (folder / "model.safetensors").unlink()
    torch.save(state_of(torch, toy), folder / "pytorch_model.bin", **options)
    return folder


refusal = partial(refused, Problem, read_torch)


def check(folder: Path, toy: Toy = TOY) -> None:
    assert_close(compiled(convert(folder).model)([np.array([[3, 1, 4]])])[0][0], toy.logits([3, 1, 4]))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("zipped", [True, False], ids=["1.6 and later", "before 1.6"])
def test_each_dtype_and_each_format(tmp_path, torch, dtype, zipped):
    toy = Toy(dtype=dtype, tied=False)
    check(write(tmp_path, torch, toy, _use_new_zipfile_serialization=zipped), toy)


def test_mask_buffers_and_prefixes(tmp_path, torch):
    check(write(tmp_path, torch))


def test_parameters_views_and_transposed_tensors(tmp_path, torch):
    state = state_of(torch)
    name = "transformer.h.0.mlp.c_fc.weight"
    state[name] = torch.nn.Parameter(state[name].T.contiguous().T)
    state["transformer.wte.weight"] = torch.cat([torch.zeros(1, 12), state["transformer.wte.weight"]])[1:]
    state["lm_head.weight"] = state["transformer.wte.weight"]
    folder = write(tmp_path, torch)
    torch.save(state, folder / "pytorch_model.bin")
    check(folder)


def test_the_file_is_mapped_and_never_written_to(tmp_path, torch):
    path = write(tmp_path, torch) / "pytorch_model.bin"
    before = path.read_bytes()
    read_torch(path)["transformer.wte.weight"].as_f32()[:] = 7
    assert path.read_bytes() == before


def test_shards(tmp_path, torch):
    folder = write(tmp_path, torch)
    state = state_of(torch)
    shards = {name: f"pytorch_model-0000{1 + count % 2}-of-00002.bin" for count, name in enumerate(state)}
    for shard in set(shards.values()):
        torch.save({name: state[name] for name in state if shards[name] == shard}, folder / shard)
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(str({"weight_map": shards}).replace("'", '"'))
    check(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "last.ckpt", "epoch=3-step=40.ckpt", "model.pt", "weights.pth"])
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model",), ("model_state_dict",), ("module", "model")])
def test_what_training_loops_save_is_unwrapped(tmp_path, torch, name, keys):
    saved = {f"model.{weight}": values for weight, values in state_of(torch).items()}  # a LightningModule's attribute
    for key in keys:
        saved = {key: saved, "epoch": 3, "optimizer_states": [{"lr": 0.1}], "hyper_parameters": {"n": 1}}
    TOY.write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(saved, tmp_path / name)
    for other in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "scaler.pt", "training_args.pt"):
        (tmp_path / other).write_bytes(b"not looked at")
    check(tmp_path)


def test_a_dictionary_that_holds_itself_is_refused(tmp_path, torch):
    saved = state_of(torch)
    saved["model"] = saved
    torch.save(saved, tmp_path / "x.bin")
    assert refusal(tmp_path / "x.bin").endswith("model: expected a dense tensor, got dict")


def test_several_of_a_training_loops_files_are_not_chosen_from(tmp_path, torch):
    TOY.write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for name in ("last.ckpt", "best.ckpt"):
        torch.save(state_of(torch), tmp_path / name)
    with pytest.raises(Problem) as caught:
        convert(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected one checkpoint, got best.ckpt, last.ckpt; move the others out of the folder"
    )


def test_safetensors_come_first(tmp_path, torch):
    folder = write(tmp_path, torch)
    other = Toy(seed=4)
    other.write(folder)
    check(folder, other)


def test_the_facts_name_the_file_that_was_read(tmp_path, torch):
    checksums = {"pytorch_model.bin": "right", "model.safetensors": "wrong"}
    assert convert(write(tmp_path, torch), checksums).facts["omz_gpt2"]["source_sha256"] == "right"


@pytest.mark.parametrize("kind", ["plain pickle", "torch before 1.6", "torch", "torch, nested"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, torch, kind):
    trace, path = tmp_path / "trace", tmp_path / "pytorch_model.bin"
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(Code(trace)))
    else:
        value = {"wte.weight": Code(trace)} if kind.endswith("nested") else Code(trace)
        torch.save(value, path, _use_new_zipfile_serialization=kind != "torch before 1.6")
    assert "PyTorch's weights-only loader refuses it" in refusal(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Code(trace)))  # the oracle: run as plain pickle it does leave a trace
    assert trace.exists()


@pytest.mark.parametrize("content", [[1, 2], "text", 5, None])
def test_what_is_no_dictionary_is_refused(tmp_path, torch, content):
    torch.save(content, tmp_path / "x.bin")
    assert "expected a dictionary of tensors, got " in refusal(tmp_path / "x.bin")


def test_what_is_no_tensor_is_refused_by_name(tmp_path, torch):
    torch.save({"epoch": 5}, tmp_path / "x.bin")
    assert refusal(tmp_path / "x.bin").endswith("epoch: expected a dense tensor, got int")
    torch.save({"s": torch.eye(3).to_sparse()}, tmp_path / "x.bin")
    assert refusal(tmp_path / "x.bin").endswith("s: expected a dense tensor, got Tensor")
    torch.save({"m": torch.empty(3, device="meta")}, tmp_path / "x.bin")
    assert refusal(tmp_path / "x.bin").endswith("m: expected a dense tensor, got Tensor")


def test_a_tensor_that_claims_more_than_is_stored_is_refused(tmp_path, torch):
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "x.bin")
    assert "a: its shape needs more values than are stored" in refusal(tmp_path / "x.bin")


def test_other_dtypes_keep_their_names(tmp_path, torch):
    torch.save({"a": torch.zeros(2, dtype=torch.int64)}, tmp_path / "x.bin")
    read = read_torch(tmp_path / "x.bin")["a"]
    assert (read.dtype, read.shape) == ("int64", (2,))


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"no pickle", b"\x80\x02."])
def test_garbage_is_refused(tmp_path, torch, raw):
    path = tmp_path / "x.bin"
    path.write_bytes(raw)
    refusal(path)


def test_a_zip_of_something_else_is_refused(tmp_path, torch):
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as file:
        file.writestr("a.txt", "hello")
    refusal(tmp_path / "x.bin")


def test_a_missing_file_and_a_folder_are_refused(tmp_path, torch):
    assert "cannot be read: No such file" in refusal(tmp_path / "x.bin")
    refusal(tmp_path)


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1), what=st.binary(min_size=1, max_size=8), cut=st.booleans(), zipped=st.booleans())
def test_whatever_the_bytes_they_are_read_or_refused(tmp_path_factory, torch, where, what, cut, zipped):
    path = tmp_path_factory.getbasetemp() / "mutated.bin"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    raw = path.read_bytes()
    at = int(where * len(raw))
    path.write_bytes(raw[:at] if cut else raw[:at] + what + raw[at + len(what) :])
    try:
        read_torch(path)
    except Problem as problem:
        assert "\n" not in str(problem)  # noqa: PT017


def test_without_pytorch_the_line_names_the_extra(tmp_path):
    Toy().write(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path; import gpt2_recipe\n"
        "try: gpt2_recipe.convert(Path(sys.argv[1]))\n"
        "except gpt2_recipe.Problem as problem: print(problem)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
        check=True,
    )
    assert done.stdout == (
        f"{tmp_path / 'pytorch_model.bin'}: is read by PyTorch, which is not installed: "
        "pip install 'omz-gpt2[onnx]', or save the model as model.safetensors\n"
    )


def test_a_pytorch_whose_loader_runs_a_files_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.9.1+cpu"))
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"")
    assert refusal(path) == (
        f"{path}: is read by PyTorch 2.10 or later, whose weights-only loader is safe, and this is 2.9.1+cpu: "
        "pip install 'torch>=2.10', or save the model as model.safetensors"
    )

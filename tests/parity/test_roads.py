"""One model, however it came: gpt-2-mini by every road to an IR, and in transformers; the same logits, the same text.

Needs PyTorch, transformers and onnx, which `make test` does not install and .ci/run does; and, for the road of Model
Optimizer, an environment with it (see model_optimizer_python.py).
"""

import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpt2_recipe
from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from omz_model_tools.convert.onnx import export as to_onnx
from support import HANGS_AFTER
from support.model_optimizer_python import model_optimizer_python
from support.toy import EXACT, Toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnx")

pytestmark = pytest.mark.extras("torch", "transformers", "onnx")

LARGEST_DIFFERENCE = 1e-4
NEW_TOKENS = 64
ROADS = ["direct", "onnx", "model_optimizer"]
MODELS = Path(str(files("omz_models"))) / "public"
NEW_TO_OLD = """
import sys
import numpy, openvino
xml, ids, answer = sys.argv[1:]
config = {"INFERENCE_PRECISION_HINT": "f32"}
numpy.save(answer, openvino.Core().compile_model(xml, "CPU", config)(numpy.load(ids))[0])
print(openvino.get_version())
"""


@pytest.fixture(scope="module")
def theirs():
    """Return gpt-2-mini in transformers."""
    return transformers.GPT2LMHeadModel.from_pretrained(MODELS / "gpt-2-mini", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def roads(run, mini, tmp_path_factory):
    """Return a function that takes gpt-2-mini down a road, once a module, and returns its FP32 IR."""
    irs = {"direct": mini / "FP32/gpt-2-mini.xml"}
    flags = {
        "onnx": lambda: ["--route=onnx"],
        "model_optimizer": lambda: [f"--python={model_optimizer_python()}"],
    }

    def ir(road: str) -> Path:
        if road not in irs:
            out = tmp_path_factory.mktemp(road)
            where = ["-d", mini.parent.parent, "-o", out, "--precisions=FP32"]
            done = run("omz_converter", "--name=gpt-2-mini", *where, *flags[road]())
            assert (done.returncode, done.stderr.decode()) == (0, "")
            irs[road] = out / "public/gpt-2-mini/FP32/gpt-2-mini.xml"
        return irs[road]

    return ir


def logits_of(theirs, ids: np.ndarray) -> np.ndarray:  # [B, L] -> [B, L, V]
    with torch.inference_mode():
        return theirs(torch.from_numpy(ids)).logits.numpy()


def facts_of(model: ov.Model) -> dict[str, str]:
    return {name: str(model.get_rt_info(["omz_gpt2", name]).value) for name in model.get_rt_info(["omz_gpt2"]).value}


def random_ids(vocab_size: int, rows: int, length: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, vocab_size, (rows, length))


@pytest.mark.parametrize("road", ROADS)
def test_logits_and_companions(roads, theirs, road):
    path = roads(road)
    found = sorted(file.name for file in path.parent.iterdir())
    assert found == ["gpt-2-mini.bin", "gpt-2-mini.xml", "merges.txt", "tokenizer.json", "vocab.json"]
    model = ov.Core().read_model(path)
    assert str(model.input("input").partial_shape) == "[?,1..512]"
    assert model.input("input").element_type == ov.Type.i64
    assert facts_of(model) == {
        "n_positions": "512",
        "vocab_size": "8192",
        "eos_token_ids": "0",
        "bos_token_id": "0",
        "source_sha256": "e5505e5f6649df0461379780b5aa0dfa7812b1c8e3c83502058d3f0488e4d181",
        **({"recipe": "gpt2"} if road == "direct" else {}),
    }
    compiled = ov.Core().compile_model(model, "CPU", EXACT)
    for shape in ((2, 100), (1, 512)):
        ids = random_ids(8192, *shape)
        difference = np.abs(compiled({"input": ids})["output"] - logits_of(theirs, ids)).max()
        print(f"{road} {shape}: max |difference| {difference:.2e}")
        assert difference <= LARGEST_DIFFERENCE


def test_open_model_zoos_own_folder_without_a_second_download(run, mini, theirs, tmp_path):
    folder, ours = tmp_path / "public/gpt-2-mini/gpt2", mini / "gpt2"
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "merges.txt"):
        (folder / name).write_bytes((ours / name).read_bytes())
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    done = run("omz_converter", "--name=gpt-2-mini", "-d", tmp_path, "--precisions=FP32")
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert f"{folder}/pytorch_model.bin is read, as Open Model Zoo downloads it" in done.stdout.decode()
    ids = random_ids(8192, 1, 64)
    compiled = ov.Core().compile_model(folder.parent / "FP32/gpt-2-mini.xml", "CPU", EXACT)
    assert np.abs(compiled([ids])[0] - logits_of(theirs, ids)).max() <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("road", ROADS)
def test_greedy_continuation(roads, theirs, road):
    prompt = random_ids(8192, 1, 16)
    with torch.inference_mode():
        expected = theirs.generate(
            torch.from_numpy(prompt),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )[0, prompt.shape[1] :].tolist()
    engine, cache = load_engine(roads(road), config=EXACT), SequenceCache()
    assert engine.back_end.name == ("stateful" if road == "direct" else "recompute")
    ours, new = [], prompt[0].tolist()
    for _ in range(NEW_TOKENS):
        ((logits,),) = engine.step([StepInput(cache, new)])
        logits[theirs.config.eos_token_id] = -np.inf  # what min_new_tokens does
        new = [int(logits.argmax())]
        ours += new
    assert ours == expected


@pytest.mark.parametrize("road", ROADS)
def test_an_ir_in_openvino_2024(roads, theirs, tmp_path, road):
    """What our converter writes is read by the OpenVINO that Model Optimizer came with."""
    python = model_optimizer_python()
    ids = random_ids(8192, 2, 100)
    np.save(tmp_path / "ids.npy", ids)
    argv = [python, "-c", NEW_TO_OLD, roads(road), tmp_path / "ids.npy", tmp_path / "logits.npy"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=HANGS_AFTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2024.")
    assert np.abs(np.load(tmp_path / "logits.npy") - logits_of(theirs, ids)).max() <= LARGEST_DIFFERENCE


@st.composite
def toys(draw) -> Toy:
    heads = draw(st.integers(1, 4))
    return Toy(
        n_layer=draw(st.integers(1, 4)),
        n_head=heads,
        n_embd=heads * draw(st.integers(1, 12)),
        n_inner=draw(st.none() | st.integers(1, 50)),
        n_positions=draw(st.integers(2, 40)),
        vocab_size=draw(st.integers(257, 340)),
        dtype=draw(st.sampled_from(["F32", "F16", "BF16"])),
        tied=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu_new", "gelu"])),
        epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        seed=draw(st.integers(0, 99)),
    )


@given(toy=toys(), rows=st.integers(1, 3), data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_configuration(toy, rows, data, tmp_path_factory):
    folder = toy.write(tmp_path_factory.mktemp("toy"))
    ids = random_ids(toy.vocab_size, rows, data.draw(st.integers(1, toy.n_positions), label="length"))
    theirs = logits_of(transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval(), ids)
    models = {"direct": gpt2_recipe.convert(folder).model, "onnx": ov.convert_model(export(folder))}
    for road, model in models.items():
        ours = ov.Core().compile_model(model, "CPU", EXACT)(ids)[0]
        assert np.abs(ours - theirs).max() <= LARGEST_DIFFERENCE, road


def export(checkpoint: Path) -> Path:
    """Export to ONNX as the descriptor of gpt-2 says; return the file."""
    path = checkpoint / "toy.onnx"
    axes = {name: {0: "batch_size", 1: "sequence_len"} for name in ("input", "output")}
    arguments = {
        "--model-path": MODELS / "gpt-2",
        "--import-module": "model",
        "--model-name": "create_model",
        "--model-param": f"model_dir={checkpoint}",
        "--input-shapes": "[2,2]",
        "--inputs-dtype": "long",
        "--input-names": "input",
        "--output-names": "output",
        "--output-file": path,
        "--conversion-param": f"dynamic_axes={axes}",
        "--opset_version": 14,
    }
    assert to_onnx.main([f"{flag}={value}" for flag, value in arguments.items()]) == 0
    return path

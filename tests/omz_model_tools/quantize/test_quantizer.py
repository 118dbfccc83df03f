"""Quantized IRs: what is read, refused and published, without NNCF; and with it, that the model stays the same."""

import io
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.engine.engine import Engine, load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools import calibration
from omz_model_tools.cli.quantizer import quantizer
from omz_model_tools.common.problem import Problem
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import SMALL_FILES, ir_bytes, read_ir
from omz_model_tools.descriptor.catalogue import packaged_root
from omz_model_tools.descriptor.model import Model
from omz_model_tools.quantize.nncf import load_compress
from omz_model_tools.quantize.quantizer import Quantizer, folder_above, load_calibration, source_precision
from omz_model_tools.quantize.settings import INT8, Int4Settings
from support import numpy_gpt2
from support.model_tree import descriptor, load_models, write_model
from support.toy import EXACT, Toy

needs_nncf = pytest.mark.extras("nncf")
WIDE = Toy(n_embd=32, n_positions=64, seed=1)
IN_GROUPS = Int4Settings(group_size=16)
PLAIN = {**EXACT, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


@dataclass(frozen=True)
class Run:
    success: bool
    out: str
    err: str


@dataclass(frozen=True)
class Disk:
    free: int


def toy_model(root: Path, **changed: Any) -> Model:
    write_model(root / "models", "toy", descriptor(**{"recipe": "gpt2", **changed}))
    (model,) = load_models([root / "models"])
    return model


def converted(root: Path, toy: Toy = WIDE, precision: str = "FP16", **rt_info: str) -> Path:
    """What omz_converter would leave; returns the path of its .xml."""
    folder = root / "public/toy" / precision
    folder.mkdir(parents=True)
    model = toy.model(root / "checkpoint")
    for name, value in rt_info.items():
        model.set_rt_info(value, name)
    toy.write_vocabulary(folder)
    ov.save_model(model, folder / "toy.xml", compress_to_fp16=precision == "FP16")
    return folder / "toy.xml"


def unchanged(model: Any, int4: Int4Settings | None, inputs: Any) -> Any:
    return model


def quantize(root: Path, *precisions: str, compress: Any = unchanged, **options: Any) -> Run:
    out, err = io.StringIO(), io.StringIO()
    model = options.pop("model", None) or toy_model(root)
    options = {"output_dir": root, "load_calibration": load_calibration, "int4": IN_GROUPS, **options}
    work = Quantizer(root, precisions=precisions, report=Report(out, err), compress=compress, **options)
    return Run(work.quantize(model), out.getvalue(), err.getvalue())


def refusal(run: Run) -> str:
    assert not run.success
    assert run.err.startswith("########## Error: ")
    assert run.err.count("\n") == 1
    return run.err.removeprefix("########## Error: ").removesuffix("\n")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def heading(root: Path, precision: str, method: str, mark: str = "") -> str:
    source, bits = root / "public/toy/FP16/toy.xml", root / "public/toy" / precision / "toy.xml"
    return f"========== {mark}Quantizing toy from FP16 to {precision}\nWeights: {method}\n{source} -> {bits}\n"


def test_what_is_said_and_published(tmp_path: Path) -> None:
    source = converted(tmp_path)
    source.with_name("notes.txt").write_text("mine")
    run = quantize(tmp_path, "FP16-INT8", "FP16-INT4")
    four = "INT4 asymmetric, groups of 16, embeddings and head INT8"
    xml = tmp_path / "public/toy/FP16-INT8/toy.xml"
    before, after = (
        sum(path.with_suffix(suffix).stat().st_size for suffix in (".xml", ".bin")) / 1e6 for path in (source, xml)
    )
    size = f"Size: {before:.1f} MB -> {after:.1f} MB\n\n"
    expected = heading(tmp_path, "FP16-INT8", INT8) + size + heading(tmp_path, "FP16-INT4", four) + size
    assert run == Run(True, expected, "")
    names = ["merges.txt", "notes.txt", "toy.bin", "toy.xml", "vocab.json"]
    for precision in ("FP16-INT8", "FP16-INT4"):
        assert sorted(path.name for path in (tmp_path / "public/toy" / precision).iterdir()) == names
    assert sorted(path.name for path in (tmp_path / "public/toy").iterdir()) == ["FP16", "FP16-INT4", "FP16-INT8"]
    rt_info = ov.Core().read_model(xml)
    assert rt_info.get_rt_info(["omz_gpt2", "quantization"]).value == INT8
    assert rt_info.get_rt_info(["omz_gpt2", "n_positions"]).value == "64"


def test_a_dry_run_reads_and_writes_nothing(tmp_path: Path) -> None:
    run = quantize(tmp_path, "FP16-INT8", dry_run=True)
    assert run == Run(True, heading(tmp_path, "FP16-INT8", INT8, "(DRY RUN) ") + "\n", "")
    assert not (tmp_path / "public").exists()


def test_a_model_without_a_recipe_is_skipped(tmp_path: Path) -> None:
    model = toy_model(tmp_path, recipe=None, model_optimizer_args=["--x"], framework="onnx")
    expected = "========== Skipping toy (no recipe, and only IRs of a recipe are quantized)\n\n"
    assert quantize(tmp_path, "FP16-INT8", model=model) == Run(True, expected, "")


def test_a_missing_ir(tmp_path: Path) -> None:
    source = tmp_path / "public/toy/FP16/toy.xml"
    wanted = f"{source}: expected an IR, got none; run: omz_converter --name toy --models_dir"
    assert refusal(quantize(tmp_path, "FP16-INT8")) == f"{wanted} {tmp_path}/models -d {tmp_path}"


@pytest.mark.parametrize(
    ("rt_info", "maker"),
    [
        ({"conversion_parameters": "x"}, "openvino.convert_model"),
        ({"MO_version": "2024.6"}, "Model Optimizer"),
        ({}, "an unknown converter"),
    ],
)
def test_an_ir_of_another_maker(tmp_path: Path, rt_info: dict[str, str], maker: str) -> None:
    source = converted(tmp_path)
    model = ov.Core().read_model(source)
    other = ov.Model(model.get_results(), model.get_parameters(), "other")
    for name, value in rt_info.items():
        other.set_rt_info(value, name)
    (tmp_path / "other").mkdir()
    ov.save_model(other, tmp_path / "other/toy.xml")
    del model, other
    for suffix in (".xml", ".bin"):
        (tmp_path / "other/toy").with_suffix(suffix).replace(source.with_suffix(suffix))
    wanted = (
        f"{source}: expected an IR of the recipe gpt2, got one of {maker}; quantize it with its maker's own tools, "
        "or convert the checkpoint with omz_converter --route direct"
    )
    assert refusal(quantize(tmp_path, "FP16-INT8")) == wanted
    assert [path.name for path in (tmp_path / "public/toy").iterdir()] == ["FP16"]


def test_what_is_quantized_already(tmp_path: Path) -> None:
    source = converted(tmp_path, nncf="3.4")
    wanted = f"{source}: is quantized already; expected the IR that omz_converter writes"
    assert refusal(quantize(tmp_path, "FP16-INT8")) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [("<net/>", "OpenVINO cannot read it: "), ("<net", "expected a whole IR, got one that ends early")],
)
def test_an_ir_that_cannot_be_read(tmp_path: Path, text: str, reason: str) -> None:
    source = converted(tmp_path)
    source.write_text(text)
    assert refusal(quantize(tmp_path, "FP16-INT8")).startswith(f"{source}: {reason}")


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    converted(tmp_path)
    assert quantize(tmp_path, "FP16-INT8").success
    before = tree(tmp_path)

    def fail(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(tmp_path, "FP16-INT8", compress=fail)
    assert tree(tmp_path) == before


def test_a_full_disk_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = converted(tmp_path)
    before = tree(tmp_path / "public")
    needed = ir_bytes(ov.Core().read_model(source), compress_to_fp16=False) + SMALL_FILES
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(needed - 1))
    wanted = f"{tmp_path}/public/toy: expected 9 MB of free space for FP16-INT8, got 9 MB; make room"
    assert refusal(quantize(tmp_path, "FP16-INT8")) == wanted
    assert tree(tmp_path / "public") == before
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(needed))
    assert quantize(tmp_path, "FP16-INT8").success


def quantize_ir(ir: Path, output_dir: Path, *precisions: str, **options: Any) -> tuple[str, str]:
    """Return what is printed, and the Problem."""
    out, err = io.StringIO(), io.StringIO()
    work = Quantizer(
        Path(), output_dir, precisions, Report(out, err), unchanged, load_calibration=load_calibration, **options
    )
    try:
        work.quantize_ir(ir)
    except Problem as problem:
        return out.getvalue(), str(problem)
    return out.getvalue(), ""


def test_any_ir_of_a_recipe_is_quantized(tmp_path: Path) -> None:
    ir = converted(tmp_path, precision="FP32")
    (ir.parent / "notes.txt").write_text("mine")
    printed, problem = quantize_ir(ir, tmp_path / "out", "FP32-INT8")
    assert problem == ""
    assert f"Quantizing toy from FP32 to FP32-INT8\nWeights: {INT8}\n" in printed
    assert (tmp_path / "out/FP32-INT8/notes.txt").read_text() == "mine"
    assert read_ir(tmp_path / "out/FP32-INT8/toy.xml").get_rt_info(["omz_gpt2", "quantization"]).value == INT8


def test_an_ir_that_is_not_to_be_quantized(tmp_path: Path) -> None:
    ir = converted(tmp_path, precision="FP32")
    assert quantize_ir(ir, tmp_path, "FP16-INT8")[1] == (
        f"--precisions: expected FP32-INT8 or FP32-INT4 of {ir}, got FP16-INT8"
    )
    assert quantize_ir(tmp_path, tmp_path, "FP16-INT8")[1] == (f"{tmp_path}: expected the .xml of an IR, got a folder")
    foreign = tmp_path / "foreign.xml"
    model = WIDE.model(tmp_path / "checkpoint")
    model.set_rt_info("", ["omz_gpt2", "recipe"])
    ov.save_model(model, foreign)
    assert quantize_ir(foreign, tmp_path, "FP16-INT8")[1].startswith(f"{foreign}: expected an IR of a recipe, got one")


@pytest.mark.parametrize(
    ("ir", "precision", "above"),
    [("a/FP32/x.xml", "FP32", "a"), ("a/FP16/x.xml", "FP16", "a"), ("a/b/x.xml", "FP16", "a/b")],
)
def test_where_a_quantized_ir_goes(ir: str, precision: str, above: str) -> None:
    assert (source_precision(Path(ir)), folder_above(Path(ir))) == (precision, Path(above).absolute())


def test_an_ir_excludes_the_zoos_models(run: Any) -> None:
    done = run("omz_quantizer", "--model", "x.xml", "--name", "gpt-2-mini")
    assert done.returncode == 2
    assert done.stderr.decode().endswith("error: --name cannot be used with --model\n")


@pytest.mark.parametrize(
    ("text", "names"), [(",", "''"), ("FP16-INT8,FP8,FP4", "FP4, FP8"), ("FP16", "FP16"), ("FP16-INT8,", "''")]
)
def test_unknown_precisions(capsys: pytest.CaptureFixture[str], text: str, names: str) -> None:
    assert quantizer(["--name", "gpt-2-mini", "--dry_run", "--precisions", text]) == 1
    known = "FP16-INT8, FP16-INT4, FP32-INT8, FP32-INT4"
    assert capsys.readouterr() == ("", f"Unknown precisions specified: {names}. Known: {known}.\n")


def test_precisions_may_be_separated_by_spaces_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantizer(["--name", "gpt-2-mini", "--dry_run", "--precisions", "FP16-INT8, FP32-INT4"]) == 0
    headings = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("=====")]
    assert headings == ["FP16-INT8", "FP32-INT4"]


def test_a_file_where_the_folder_belongs(tmp_path: Path) -> None:
    converted(tmp_path)
    (tmp_path / "public/toy/FP16-INT8").write_text("mine")
    wanted = f"{tmp_path}/public/toy/FP16-INT8: expected a folder or nothing, got a file; move it away"
    assert refusal(quantize(tmp_path, "FP16-INT8")) == wanted


@pytest.mark.parametrize(
    ("int4", "widths"),
    [(Int4Settings(group_size=64), "32, 128"), (Int4Settings(group_size=48, all_layers=True), "32, 128")],
)
def test_a_group_size_that_divides_not_every_width(tmp_path: Path, int4: Int4Settings, widths: str) -> None:
    source = converted(tmp_path)
    wanted = (
        f"--group_size: expected a divisor of the widths of {source}, {widths}, got {int4.group_size}; "
        "-1 gives whole channels"
    )
    assert refusal(quantize(tmp_path, "FP16-INT4", int4=int4)) == wanted


@pytest.mark.parametrize("group_size", [2, 16, 32, -1])
def test_a_group_size_that_does(tmp_path: Path, group_size: int) -> None:
    converted(tmp_path)
    assert quantize(tmp_path, "FP16-INT4", int4=Int4Settings(group_size=group_size)).success


def test_a_calibration_text_reaches_the_compression_as_inputs(tmp_path: Path) -> None:
    converted(tmp_path)
    seen = []

    def compress(model: Any, int4: Int4Settings | None, inputs: Any) -> Any:
        seen.append((int4, inputs))
        return model

    text = tmp_path / "text.txt"
    text.write_text("the rain in spain stays mainly in the plain " * 9, encoding="utf-8")
    int4 = Int4Settings(group_size=16, calibration_text=text, awq=True)
    assert quantize(tmp_path, "FP16-INT8", "FP16-INT4", compress=compress, int4=int4).success
    (eight, nothing), (four, inputs) = seen
    assert (eight, nothing, four) == (None, None, int4)
    folder = tmp_path / "public/toy/FP16"
    tokens = GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt").encode(text.read_text(encoding="utf-8"))
    assert {array.shape for array in inputs} == {(1, 64)}
    assert len(inputs) == len(tokens) // 64 > 2
    assert inputs[0][0].tolist() == tokens[:64]
    assert inputs[-1][0].tolist() == tokens[-64:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{text}: No such file or directory"),
        (b"caf\xe9", "{text}: expected UTF-8 text, got byte 0xe9 at 3"),
        (b"two words", "{text}: expected at least 64 tokens to calibrate with, got 9"),
    ],
)
def test_a_calibration_text_that_is_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    text, source = tmp_path / "text.txt", converted(tmp_path)
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(calibration.Problem) as caught:
        calibration.inputs(text, source)
    assert str(caught.value) == message.format(text=text)
    run = quantize(tmp_path, "FP16-INT4", int4=Int4Settings(16, calibration_text=text, awq=True))
    assert refusal(run) == message.format(text=text)


def test_a_calibration_text_may_be_read_again_and_so_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(calibration.Problem, match="pipe: expected a file, got a pipe or a device"):
        calibration.inputs(tmp_path / "pipe", converted(tmp_path))


def test_the_calibration_of_an_unknown_recipe() -> None:
    assert load_calibration("gpt2") is calibration
    wanted = r"^--calibration_text: nothing that is installed reads a text for the recipe x\Z"
    with pytest.raises(Problem, match=wanted):
        load_calibration("x")


# With NNCF.


def dequantized(xml: Path, toy: Toy) -> numpy_gpt2.State:
    """The weights of an INT8 IR, by hand from its constants: integers times the scale of their channel."""
    model = ov.Core().read_model(xml)
    constants = {op.get_friendly_name(): op.data for op in model.get_ops() if op.get_type_name() == "Constant"}
    state = {}
    for name, original in toy.state.items():
        (stored,) = [key for key in constants if key.removesuffix("_compressed") == name]
        values = constants[stored].astype(np.float32)
        if constants[stored].dtype == np.int8:
            values = values * constants[f"{stored}/scale"].astype(np.float32)
        turned = values.shape != original.shape or np.abs(values - original).max() > 0.1 * np.abs(original).max()
        state[name] = values.T if turned else values
    return state


def logits(xml: Path, ids: list[int]) -> np.ndarray:  # -> [L, V]
    return ov.Core().compile_model(xml, "CPU", PLAIN)([np.array([ids])])[0][0].copy()


def step_by_step(engine: Engine, ids: list[int]) -> np.ndarray:  # -> [L, V]
    cache = SequenceCache()
    return np.vstack([engine.step([StepInput(cache, [token])])[0] for token in ids])


@needs_nncf
@pytest.mark.parametrize("toy", [WIDE, Toy(n_embd=32, n_positions=64, tied=False, seed=2)], ids=["tied", "untied"])
def test_int8_is_the_model_of_its_rounded_weights(tmp_path: Path, toy: Toy) -> None:
    converted(tmp_path, toy, "FP32")
    assert quantize(tmp_path, "FP32-INT8", compress=load_compress()).success
    xml = tmp_path / "public/toy/FP32-INT8/toy.xml"
    state = dequantized(xml, toy)
    matrices = [name for name, values in state.items() if values.ndim == 2]
    assert all(not np.array_equal(state[name], toy.state[name]) for name in matrices)
    for name in matrices:
        assert np.abs(state[name] - toy.state[name]).max() <= np.abs(toy.state[name]).max() / 127
    ids = np.random.default_rng(0).integers(0, toy.vocab_size, 20).tolist()
    expected = numpy_gpt2.logits(ids, state, toy.n_head)
    np.testing.assert_allclose(logits(xml, ids), expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@needs_nncf
@pytest.mark.parametrize("precision", ["FP16-INT8", "FP16-INT4", "FP32-INT8", "FP32-INT4"])
def test_the_contract_is_kept_and_the_cache_is_exact(tmp_path: Path, precision: str) -> None:
    converted(tmp_path, precision=precision.partition("-")[0])
    assert quantize(tmp_path, precision, compress=load_compress()).success
    xml = tmp_path / "public/toy" / precision / "toy.xml"
    model = ov.Core().read_model(xml)
    assert [(port.get_names(), str(port.partial_shape)) for port in model.inputs] == [({"input"}, "[?,1..64]")]
    assert [(port.get_names(), str(port.partial_shape)) for port in model.outputs] == [({"output"}, "[?,?,300]")]
    assert {op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "Clamp"} == set()
    engine = load_engine(xml, "CPU", PLAIN)
    assert engine.back_end.name != "recompute"
    ids = np.random.default_rng(1).integers(0, WIDE.vocab_size, 30).tolist()
    whole = logits(xml, ids)
    np.testing.assert_allclose(step_by_step(engine, ids), whole, rtol=0, atol=1e-4 * np.abs(whole).max())


@pytest.fixture(scope="module")
def prose(mini: Path) -> list[str]:
    """Three texts of the embedded model's own: two to calibrate with, one to judge by."""
    with TextGenerator(mini / "FP32/gpt-2-mini.xml", config=PLAIN) as generator:
        streams = [
            generator.stream("The President", Sampling(top_p=0.95, seed=i), max_new_tokens=500) for i in range(3)
        ]
        return ["".join(stream) for stream in streams]


def divergence(mini: Path, xml: Path, text: str) -> tuple[float, float]:
    """Kullback-Leibler divergence per token to the FP32 IR, in nats, and the ratio of the perplexities."""
    folder = mini / "FP16"
    ids = GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt").encode(text)
    ours, theirs = (log_softmax(logits(path, ids)) for path in (mini / "FP32/gpt-2-mini.xml", xml))
    surprise = [-found[np.arange(len(ids) - 1), ids[1:]].mean() for found in (ours[:-1], theirs[:-1])]
    return float((np.exp(ours) * (ours - theirs)).sum(-1).mean()), float(np.exp(surprise[1] - surprise[0]))


def log_softmax(scores: np.ndarray) -> np.ndarray:  # [L, V] -> [L, V]
    shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


# The sizes are done by hand: a weight of B bits in groups of G takes B + (16 + B) / G bits in an INT4 IR.
@needs_nncf
@pytest.mark.parametrize(
    ("int4", "size", "most"),
    [
        (None, 0.505, 1e-3),
        (Int4Settings(), 0.357, 0.01),
        (Int4Settings(group_size=128), 0.351, 0.015),
        (Int4Settings(ratio=0.5), 0.437, 0.01),
        (Int4Settings(all_layers=True), 0.272, 0.05),
        (Int4Settings(awq=True, calibration_text=Path("text.txt")), 0.360, 0.01),
        (Int4Settings(scale_estimation=True, calibration_text=Path("text.txt")), 0.357, 0.015),
    ],
    ids=["INT8", "INT4", "groups of 128", "ratio", "all layers", "AWQ", "scale estimation"],
)
def test_the_embedded_model_is_smaller_and_hardly_worse(
    mini: Path, prose: list[str], tmp_path: Path, int4: Int4Settings | None, size: float, most: float
) -> None:
    precision = "FP16-INT4" if int4 else "FP16-INT8"
    text = tmp_path / "text.txt"
    text.write_text("".join(prose[:2]), encoding="utf-8")
    if int4 and int4.calibration_text:
        int4 = replace(int4, calibration_text=text)
    (model,) = [model for model in load_models([packaged_root()]) if model.name == "gpt-2-mini"]
    options = {
        "model": model,
        "output_dir": tmp_path,
        "compress": load_compress(),
        "int4": int4 or Int4Settings(),
    }
    assert quantize(mini.parents[1], precision, **options).success
    xml = tmp_path / "public/gpt-2-mini" / precision / "gpt-2-mini.xml"
    before, after = (path.with_suffix(".bin").stat().st_size for path in (mini / "FP16/gpt-2-mini.xml", xml))
    assert after / before == pytest.approx(size, abs=0.002)
    kl, perplexity = divergence(mini, xml, prose[2])
    assert 0 < kl < most
    assert perplexity < 1.05
    assert (b"awq_mul" in xml.read_bytes()) == bool(int4 and int4.awq)


@needs_nncf
@pytest.mark.parametrize("awq", [False, True])
@pytest.mark.parametrize("scale_estimation", [False, True])
def test_the_same_ir_gives_the_same_bytes(tmp_path: Path, awq: bool, scale_estimation: bool) -> None:
    converted(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("the rain in spain stays mainly in the plain " * 9, encoding="utf-8")
    int4 = Int4Settings(16, ratio=0.5, calibration_text=text, awq=awq, scale_estimation=scale_estimation)
    written = []
    for out in (tmp_path / "a", tmp_path / "b"):
        options = {"output_dir": out, "compress": load_compress(), "int4": int4}
        assert quantize(tmp_path, "FP16-INT8", "FP16-INT4", **options).success
        written.append(tree(out))
    assert written[0] == written[1]


@needs_nncf
def test_the_commands(run: Any, mini: Path, tmp_path: Path) -> None:
    arguments = ["--name", "gpt-2-mini", "--model_dir", mini.parents[1], "-o", tmp_path, "--precisions", "FP16-INT8"]
    done = run("omz_quantizer", *arguments)
    xml = tmp_path / "public/gpt-2-mini/FP16-INT8/gpt-2-mini.xml"
    expected = (
        "========== Quantizing gpt-2-mini from FP16 to FP16-INT8\nWeights: INT8 symmetric, whole channels\n"
        f"{mini}/FP16/gpt-2-mini.xml -> {xml}\nSize: 12.5 MB -> 6.4 MB\n\n"
    )
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, expected, "")
    done = run("gpt2_text_prediction_demo", "-m", xml, "-i", "The President of", "--top_k", "1")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("The President of the United States")

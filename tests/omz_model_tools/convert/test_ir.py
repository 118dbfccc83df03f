"""IRs: their size is known before they are written, they compute what the model does, truncated ones are refused."""

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.publish import PublishedFolder
from omz_model_tools.convert.ir import SMALL_FILES, build, check_ir, check_room, ir_bytes, publish_ir, save_ir
from omz_model_tools.convert.write_progress import unwatched
from support import toy_recipe


@dataclass(frozen=True)
class Written:
    name: str
    content: bytes


@pytest.fixture
def conversion(tmp_path: Path) -> toy_recipe.Conversion:
    """A megabyte of weights."""
    source = tmp_path / "source"
    source.mkdir()
    np.linspace(-1, 1, 250_000, dtype=np.float32).tofile(source / "weights.bin")
    (source / "vocab.json").write_bytes(b"{}")
    return build(toy_recipe, source, {})  # type: ignore[arg-type, return-value]


def test_the_size_is_known_before_it_is_written(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    for precision, size in (("FP16", 500_000), ("FP32", 1_000_000)):
        publish_ir(conversion, PublishedFolder(tmp_path / precision), "toy", unwatched)
        assert ir_bytes(conversion.model, precision == "FP16") == size
        assert (tmp_path / precision / "toy.bin").stat().st_size == size


def test_a_companion_that_is_no_file_yet_is_written(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    companions = [*conversion.companions, Written("merges.txt", b"#version")]
    publish_ir(replace(conversion, companions=companions), PublishedFolder(tmp_path / "FP16"), "toy", unwatched)
    assert (tmp_path / "FP16/merges.txt").read_bytes() == b"#version"
    assert sorted(path.name for path in (tmp_path / "FP16").iterdir()) == [
        "merges.txt",
        "toy.bin",
        "toy.xml",
        "vocab.json",
    ]


@pytest.mark.parametrize("free", [0, SMALL_FILES + 499_999, 2 * SMALL_FILES + 1_499_999])
def test_too_little_room_for_all_precisions(tmp_path: Path, conversion: toy_recipe.Conversion, free: int) -> None:
    places = [PublishedFolder(tmp_path / precision) for precision in ("FP16", "FP32")]
    with pytest.raises(Problem) as caught:
        check_room(conversion.model, places, lambda folder: free)
    assert str(caught.value) == (
        f"{tmp_path}: expected 19 MB of free space for FP16, FP32, got {-(-free // 10**6)} MB; "
        "make room, or ask for fewer --precisions"
    )
    check_room(conversion.model, places, lambda folder: 2 * SMALL_FILES + 1_500_000)


def test_an_ir_that_is_replaced_gives_its_room_to_the_next(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    places = [PublishedFolder(tmp_path / precision) for precision in ("FP16", "FP32")]
    places[0].target.mkdir()
    with (places[0].target / "toy.bin").open("wb") as old:
        old.truncate(SMALL_FILES + 500_000)
    check_room(conversion.model, places, lambda folder: SMALL_FILES + 1_000_000)
    with pytest.raises(Problem):
        check_room(conversion.model, places, lambda folder: SMALL_FILES + 999_999)


def test_what_is_really_free_is_asked_for(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    check_room(conversion.model, [PublishedFolder(tmp_path / "FP16")])


def test_whole_numbers_are_not_halved() -> None:
    ops = openvino.opset13
    x = ops.parameter([4], np.int64)
    model = openvino.Model([ops.result(ops.add(x, ops.constant(np.arange(4))))], [x])
    assert ir_bytes(model, compress_to_fp16=True) == 32


WEIGHTS = np.linspace(-1, 1, 4096, dtype=np.float32)


@pytest.fixture
def model(tmp_path: Path) -> openvino.Model:
    WEIGHTS.tofile(tmp_path / "weights.bin")
    return toy_recipe.convert(tmp_path, {}).model


@pytest.mark.parametrize(("compressed", "tolerance"), [(True, 1e-3), (False, 0)])
def test_it_computes_what_the_model_does(
    tmp_path: Path, model: openvino.Model, compressed: bool, tolerance: float
) -> None:
    save_ir(model, tmp_path / "m.xml", compressed)
    compiled = openvino.compile_model(tmp_path / "m.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = np.full(WEIGHTS.size, 0.25, np.float32)
    np.testing.assert_allclose(compiled(x)[0], x + WEIGHTS, rtol=0, atol=tolerance)
    assert (tmp_path / "m.bin").stat().st_size == WEIGHTS.size * (2 if compressed else 4)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, model: openvino.Model) -> None:
    for name in ("a", "b"):
        save_ir(model, tmp_path / f"{name}.xml", compress_to_fp16=True)
    for end in (".xml", ".bin"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


def test_an_xml_that_ends_early_is_refused_wherever_it_ends(tmp_path: Path, model: openvino.Model) -> None:
    xml = tmp_path / "m.xml"
    save_ir(model, xml, compress_to_fp16=True)
    whole = xml.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        xml.write_bytes(whole[:length])
        with pytest.raises(
            Problem, match=r"m\.xml: expected a whole IR, got one that ends early [^\n]*is the disk full"
        ):
            check_ir(xml)


def test_weights_that_end_early_are_refused(tmp_path: Path, model: openvino.Model) -> None:
    xml = tmp_path / "m.xml"
    save_ir(model, xml, compress_to_fp16=False)
    weights = xml.with_suffix(".bin")
    with weights.open("rb+") as stream:
        stream.truncate(16_383)
    with pytest.raises(Problem) as caught:
        check_ir(xml)
    assert str(caught.value) == f"{weights}: expected 16384 bytes of weights, got 16383; is the disk full?"
    weights.unlink()
    with pytest.raises(Problem) as caught:
        check_ir(xml)
    assert str(caught.value) == f"{weights}: No such file or directory"


def test_what_was_written_is_checked(tmp_path: Path, model: openvino.Model) -> None:
    """Bytes that get lost without an error, as OpenVINO 2025.0 loses them on a full disk."""
    (tmp_path / "m.bin").symlink_to("/dev/null")
    with pytest.raises(Problem, match=r"m\.bin: expected 16384 bytes of weights, got 0; is the disk full\?\Z"):
        save_ir(model, tmp_path / "m.xml", compress_to_fp16=False)


LIMITED = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    from support import toy_recipe
    from omz_model_tools.convert.ir import save_ir
    from omz_model_tools.common.problem import Problem

    folder = Path(sys.argv[1])
    model = toy_recipe.convert(folder, {}).model
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        save_ir(model, folder / "m.xml", compress_to_fp16=sys.argv[3] == "FP16")
    except Problem as problem:
        print(problem)
    """
)


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
@pytest.mark.parametrize("limit", [0, 1000, 5000, 8192])
def test_a_full_disk_is_noticed_in_the_weights(tmp_path: Path, limit: int, precision: str) -> None:
    WEIGHTS.tofile(tmp_path / "weights.bin")
    out = save_limited(tmp_path, limit, precision)
    fits = precision == "FP16" and limit == 8192
    assert out.count("\n") == (0 if fits else 1)
    assert fits or out.startswith(f"{tmp_path}/m.")


@pytest.mark.parametrize("limit", [8, 100, 1000])
def test_a_full_disk_is_noticed_in_the_xml(tmp_path: Path, limit: int) -> None:
    WEIGHTS[:2].tofile(tmp_path / "weights.bin")
    out = save_limited(tmp_path, limit, "FP32")
    assert out.count("\n") == 1
    assert out.startswith(f"{tmp_path}/m.xml: ")


def save_limited(folder: Path, limit: int, precision: str) -> str:
    """What a process says that saves there and may not write a file longer than the limit."""
    argv = [sys.executable, "-c", LIMITED, str(folder), str(limit), precision]
    tests = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(argv, capture_output=True, text=True, env=tests, check=True).stdout

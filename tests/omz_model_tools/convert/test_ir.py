"""ir_folder: whether the disk has room is known before a byte is written, and companions lie beside the IR."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.publish import FolderPlace
from omz_model_tools.convert.ir import SMALL_FILES, build, check_room, ir_bytes, publish_ir
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
        publish_ir(conversion, FolderPlace(tmp_path / precision), "toy", unwatched)
        assert ir_bytes(conversion.model, precision == "FP16") == size
        assert (tmp_path / precision / "toy.bin").stat().st_size == size


def test_a_companion_that_is_no_file_yet_is_written(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    companions = [*conversion.companions, Written("merges.txt", b"#version")]
    publish_ir(replace(conversion, companions=companions), FolderPlace(tmp_path / "FP16"), "toy", unwatched)
    assert (tmp_path / "FP16/merges.txt").read_bytes() == b"#version"
    assert sorted(path.name for path in (tmp_path / "FP16").iterdir()) == [
        "merges.txt",
        "toy.bin",
        "toy.xml",
        "vocab.json",
    ]


@pytest.mark.parametrize("free", [0, SMALL_FILES + 499_999, 2 * SMALL_FILES + 1_499_999])
def test_too_little_room_for_all_precisions(tmp_path: Path, conversion: toy_recipe.Conversion, free: int) -> None:
    places = [FolderPlace(tmp_path / precision) for precision in ("FP16", "FP32")]
    with pytest.raises(Problem) as caught:
        check_room(conversion.model, places, lambda folder: free)
    assert str(caught.value) == (
        f"{tmp_path}: expected 19 MB of free space for FP16, FP32, got {-(-free // 10**6)} MB; "
        "make room, or ask for fewer --precisions"
    )
    check_room(conversion.model, places, lambda folder: 2 * SMALL_FILES + 1_500_000)


def test_an_ir_that_is_replaced_gives_its_room_to_the_next(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    places = [FolderPlace(tmp_path / precision) for precision in ("FP16", "FP32")]
    places[0].target.mkdir()
    with (places[0].target / "toy.bin").open("wb") as old:
        old.truncate(SMALL_FILES + 500_000)
    check_room(conversion.model, places, lambda folder: SMALL_FILES + 1_000_000)
    with pytest.raises(Problem):
        check_room(conversion.model, places, lambda folder: SMALL_FILES + 999_999)


def test_what_is_really_free_is_asked_for(tmp_path: Path, conversion: toy_recipe.Conversion) -> None:
    check_room(conversion.model, [FolderPlace(tmp_path / "FP16")])


def test_whole_numbers_are_not_halved() -> None:
    ops = openvino.opset13
    x = ops.parameter([4], np.int64)
    model = openvino.Model([ops.result(ops.add(x, ops.constant(np.arange(4))))], [x])
    assert ir_bytes(model, compress_to_fp16=True) == 32

"""A file matches its descriptor, or the error says how it differs."""

import hashlib
import itertools
import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import Checksum, HttpSource, ModelFile

CONTENT = b"The poem was written by"


def described(content: bytes, size: int | None, algorithm: str = "sha384") -> ModelFile:
    checksum = Checksum(algorithm, hashlib.new(algorithm, content).hexdigest())
    return ModelFile(PurePosixPath("x"), size, checksum, (HttpSource("http://a"),))


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_true_bytes(tmp_path: Path, algorithm: str, size: int | None) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    verify.check(tmp_path / "x", described(CONTENT, size, algorithm))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (CONTENT + b"!", "{path}: file is longer than expected (23 B)"),
        (CONTENT[:-1], "{path}: file is shorter (22 B) than expected (23 B)"),
        (b"", "{path}: file is shorter (0 B) than expected (23 B)"),
    ],
)
def test_a_wrong_size(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(verify.VerificationError) as caught:
        verify.check(path, described(CONTENT, len(CONTENT)))
    assert caught.value.lines(path) == [line.format(path=path)]


def test_a_wrong_hash_in_open_model_zoos_words(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    with pytest.raises(verify.HashMismatch) as caught:
        verify.check(path, described(b"abd", 3, "sha256"))
    assert caught.value.lines(path) == [
        f'Hash mismatch for "{path}"',
        "Expected: a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9",
        "Actual:   ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]


@given(st.binary(max_size=60), st.binary(max_size=60), st.lists(st.integers(0, 60)), st.booleans())
def test_a_stream_is_true_exactly_when_it_equals(content: bytes, other: bytes, cuts: list[int], sized: bool) -> None:
    for stream in (content, other):
        hashed = verify.IncrementalHash(described(content, len(content) if sized else None))
        borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        try:
            for start, end in itertools.pairwise(borders):
                hashed.add(stream[start:end])
            hashed.check()
            true = True
        except verify.VerificationError:
            true = False
        assert true == (stream == content)


def test_find_error_returns_the_error(tmp_path: Path) -> None:
    path, file = tmp_path / "x", described(CONTENT, len(CONTENT))
    assert isinstance(verify.find_error(path, file), verify.MissingFile)
    assert verify.find_error(path / "y", file).lines(path) == [f"{path}: expected a downloaded file, got none"]
    path.write_bytes(CONTENT)
    assert verify.find_error(path, file) is None
    assert verify.matches(path, file)
    assert isinstance(verify.find_error(path / "below a file", file), verify.MissingFile)
    path.write_bytes(CONTENT[::-1])
    assert isinstance(verify.find_error(path, file), verify.HashMismatch)
    assert not verify.matches(path, file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Problem, match="pipe: expected a file or nothing, got a pipe or a device; move it away"):
        verify.matches(tmp_path / "pipe", described(CONTENT, None))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="expected a file or nothing, got a folder; move it away"):
        verify.matches(tmp_path, described(CONTENT, None))


def test_an_incremental_hash_matches_after_the_last_byte() -> None:
    hashed = verify.IncrementalHash(described(CONTENT, None))
    assert (hashed.size, hashed.matches()) == (0, False)
    hashed.add(CONTENT[:5])
    assert (hashed.size, hashed.matches()) == (5, False)
    hashed.add(CONTENT[5:])
    assert (hashed.size, hashed.matches()) == (23, True)


def test_a_stream_that_is_too_long_is_stopped_before_its_end() -> None:
    hashed = verify.IncrementalHash(described(CONTENT, len(CONTENT)))
    hashed.add(CONTENT)
    with pytest.raises(verify.TooLong):
        hashed.add(b"!")

"""Postprocessing: its steps, its record, and a kill at every step."""

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.finished import RECORD, check_finished, is_postprocessed
from omz_model_tools.descriptor.model import Checksum, ModelFile, Postprocessing, RegexReplace, UnpackArchive
from omz_model_tools.download.postprocess import LOCK, STAGING, postprocess

TOY = PurePosixPath("public/toy")


@dataclass(frozen=True)
class Toy:
    """A model as the downloader sees it."""

    files: tuple[ModelFile, ...]
    postprocessing: tuple[Postprocessing, ...]
    name: str = "toy"
    subdirectory: PurePosixPath = TOY
    descriptor: Path = Path(TOY, "model.yml")


def described(name: str, content: bytes) -> ModelFile:
    return ModelFile(PurePosixPath(name), len(content), Checksum("sha256", hashlib.sha256(content).hexdigest()), ())


def downloaded(folder: Path, contents: dict[str, bytes], *steps: Postprocessing) -> Toy:
    """Lay the files of a model into its folder, as the downloader leaves them."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Toy(tuple(described(name, content) for name, content in contents.items()), steps)


def zipped(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in contents.items():
            opened.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def unpack(file: str, kind: str = "zip") -> UnpackArchive:
    return UnpackArchive(PurePosixPath(file), kind)


def edit(file: str, pattern: str, replacement: str, count: int = 0) -> RegexReplace:
    return RegexReplace(PurePosixPath(file), re.compile(pattern), replacement, count)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the record."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != RECORD}


def refusal(model: Toy, folder: Path) -> str:
    """Return the error, after checking that nothing was published or lost."""
    before = tree(folder)
    with pytest.raises(Problem) as caught:
        postprocess(model, folder)
    assert tree(folder) == before
    assert not (folder / RECORD).exists()
    assert not (folder / STAGING).exists()
    assert not is_postprocessed(model, folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# The shape of Open Model Zoo's own gpt-2: two wheels, then edits of what was in them.
TORCH = {"torch_like/__init__.py": b"from . import check\r\nx = 1\r\n", "torch_like/util.py": b"Repo\nimport Repo\n"}
PACKAGING = {"packaging/__init__.py": b"", "packaging-21.0.dist-info/LICENSE": b"free\n"}
WHEELS = {
    "torch_like-4.9.1-py3-none-any.whl": zipped(TORCH),
    "gpt2/config.json": b'{"n_head": 2}\n',
    "packaging-21.0-py3-none-any.whl": zipped(PACKAGING),
}
STEPS = (
    unpack("torch_like-4.9.1-py3-none-any.whl"),
    unpack("packaging-21.0-py3-none-any.whl"),
    edit("torch_like/__init__.py", "from . import check", r"# \g<0>"),
    edit("torch_like/util.py", "import Repo", r"# \g<0>"),
    edit("torch_like/util.py", "Repo", "None"),
    edit("gpt2/config.json", '"n_head"', '"heads"', count=1),
)
RESULT = {
    "torch_like/__init__.py": b"# from . import check\nx = 1\n",
    "torch_like/__init__.py.orig": TORCH["torch_like/__init__.py"],
    "torch_like/util.py": b"None\n# import None\n",
    "torch_like/util.py.orig": TORCH["torch_like/util.py"],
    "gpt2/config.json": b'{"heads": 2}\n',
    "gpt2/config.json.orig": b'{"n_head": 2}\n',
    **PACKAGING,
}


def test_two_wheels_and_edits_of_them(tmp_path: Path) -> None:
    model = downloaded(tmp_path, WHEELS, *STEPS)
    assert not is_postprocessed(model, tmp_path)
    said: list[str] = []
    postprocess(model, tmp_path, said.append)
    assert tree(tmp_path) == RESULT
    assert is_postprocessed(model, tmp_path)
    assert said == [
        f"Unpacking {tmp_path}/torch_like-4.9.1-py3-none-any.whl",
        f"Unpacking {tmp_path}/packaging-21.0-py3-none-any.whl",
        f"Replacing text in {tmp_path}/torch_like/__init__.py",
        f"Replacing text in {tmp_path}/torch_like/util.py",
        f"Replacing text in {tmp_path}/torch_like/util.py",
        f"Replacing text in {tmp_path}/gpt2/config.json",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [RECORD]


def test_done_is_postprocessed(tmp_path: Path) -> None:
    model = downloaded(tmp_path, WHEELS, *STEPS)
    postprocess(model, tmp_path)
    said: list[str] = []
    postprocess(model, tmp_path, said.append)
    assert (said, tree(tmp_path)) == ([], RESULT)


def test_archives_fetched_again_beside_a_true_record_go(tmp_path: Path) -> None:
    model = downloaded(tmp_path, WHEELS, *STEPS)
    postprocess(model, tmp_path)
    wheel = "packaging-21.0-py3-none-any.whl"
    (tmp_path / wheel).write_bytes(WHEELS[wheel])
    said: list[str] = []
    postprocess(model, tmp_path, said.append)
    assert (said, tree(tmp_path)) == ([], RESULT)


def test_an_archive_is_unpacked_beside_itself(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"a/b/c.zip": zipped({"d/e": b"1"})}, unpack("a/b/c.zip"))
    postprocess(model, tmp_path)
    assert tree(tmp_path) == {"a/b/d/e": b"1"}


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    outer = zipped({"in/inner.zip": zipped({"x": b"1"}), "y": b"2"})
    model = downloaded(tmp_path, {"outer.zip": outer}, unpack("outer.zip"), unpack("in/inner.zip"))
    postprocess(model, tmp_path)
    assert tree(tmp_path) == {"in/x": b"1", "y": b"2"}


def test_an_archive_in_an_archive_that_holds_its_own_name(tmp_path: Path) -> None:
    outer = zipped({"inner.zip": zipped({"inner.zip": b"1"})})
    model = downloaded(tmp_path, {"outer.zip": outer}, unpack("outer.zip"), unpack("inner.zip"))
    assert "expected a name of its own, got the archive's" in refusal(model, tmp_path)


def test_a_later_archive_replaces_what_an_earlier_one_brought(tmp_path: Path) -> None:
    both = {"1.zip": zipped({"x": b"1", "one": b""}), "2.zip": zipped({"x": b"2"})}
    model = downloaded(tmp_path, both, unpack("1.zip"), unpack("2.zip"))
    postprocess(model, tmp_path)
    assert tree(tmp_path) == {"x": b"2", "one": b""}


def test_an_archive_without_files_is_done_too(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"a.zip": zipped({})}, unpack("a.zip"))
    postprocess(model, tmp_path)
    assert is_postprocessed(model, tmp_path)
    assert tree(tmp_path) == {}


def test_no_steps(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"x": b"1"})
    postprocess(model, tmp_path)
    assert not is_postprocessed(model, tmp_path)
    assert list(check_finished(model, tmp_path)) == [(tmp_path / "x", None)]
    assert tree(tmp_path) == {"x": b"1"}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"good": b"1", "gpt2/config.json": b"{}"}, "that of a file of the descriptor"),
        ({"good": b"1", "a.zip": b""}, "that of a file of the descriptor"),
        ({"good": b"1", "GPT2/config.json": b"{}"}, "collides with the folder 'gpt2'"),
        ({"good": b"1", RECORD: b"{}"}, "keep for themselves"),
        ({"good": b"1", f"{STAGING}/files/x": b""}, "keep for themselves"),
        ({"good": b"1", ".FP16.old/x": b""}, "keep for themselves"),
        ({"good": b"1", f"gpt2/.{'0' * 32}.part": b""}, "keep for themselves"),
        ({"good": b"1", ".omz_converter.lock": b""}, "keep for themselves"),
        ({"good": b"1", "../x": b""}, 'without empty, "." and ".." parts'),
    ],
)
def test_what_an_archive_may_not_contain(tmp_path: Path, entries: dict[str, bytes], expected: str) -> None:
    contents = {"a.zip": zipped(entries), "gpt2/config.json": b"true"}
    model = downloaded(tmp_path, contents, unpack("a.zip"))
    assert expected in refusal(model, tmp_path)


def test_a_bomb(tmp_path: Path) -> None:
    """64 MiB and one byte of zeros, in less than 250 bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as opened, open("/dev/zero", "rb") as zeros:
        member = tarfile.TarInfo("zeros")
        member.size = (64 << 20) + 1
        opened.addfile(member, zeros)
    assert len(out.getvalue()) < 250
    model = downloaded(tmp_path, {"a.tar.bz2": out.getvalue()}, unpack("a.tar.bz2", "bztar"))
    assert f"expected at most {64 << 20} bytes (the archive itself has" in refusal(model, tmp_path)


@pytest.mark.parametrize("kind", ["bztar", "gztar", "tar", "xztar", "zip"])
def test_what_is_no_archive(tmp_path: Path, kind: str) -> None:
    model = downloaded(tmp_path, {"a": b"no archive at all" * 100}, unpack("a", kind))
    assert f"{tmp_path / 'a'}: expected an archive" in refusal(model, tmp_path)


def test_the_folder_has_a_link_where_the_archive_has_a_folder(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    (tmp_path / "elsewhere").mkdir()
    model = downloaded(inside, {"a.zip": zipped({"a": b"1", "sub/x": b"2"})}, unpack("a.zip"))
    (inside / "sub").symlink_to(tmp_path / "elsewhere")
    assert "expected a folder or nothing, got a symbolic link; move it away" in refusal(model, inside)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_where_the_archive_has_a_file_is_replaced(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    model = downloaded(inside, {"a.zip": zipped({"x": b"2"})}, unpack("a.zip"))
    (tmp_path / "elsewhere").write_bytes(b"stays")
    (inside / "x").symlink_to(tmp_path / "elsewhere")
    postprocess(model, inside)
    assert not (inside / "x").is_symlink()
    assert ((inside / "x").read_bytes(), (tmp_path / "elsewhere").read_bytes()) == (b"2", b"stays")


@pytest.mark.parametrize(("entry", "there"), [("sub/x", "sub"), ("x", "x/y")])
def test_file_against_folder(tmp_path: Path, entry: str, there: str) -> None:
    model = downloaded(tmp_path, {"a.zip": zipped({"a": b"1", entry: b"2"})}, unpack("a.zip"))
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(b"a user's")
    assert "or nothing, got a" in refusal(model, tmp_path)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (edit("x", "none such", ""), "expected at least one occurrences of the pattern 'none such', got 0"),
        (edit("x", "l", "L", count=3), "expected 3 occurrences of the pattern 'l', got 2"),
        (edit("x", "l", r"\2"), "text cannot be replaced: invalid group reference"),
        (edit("x", "l", r"\g<no>"), "text cannot be replaced: "),
        (edit("bytes", "l", ""), "text cannot be replaced: 'utf-8' codec can't decode"),
        (edit("nowhere", "l", ""), "expected a file of the descriptor or one that an earlier step made, got neither"),
        (edit("foreign", "l", ""), "expected a file of the descriptor or one that an earlier step made, got neither"),
        (edit("y", "l", ""), "that of a file of the descriptor"),
    ],
)
def test_an_edit_that_cannot_be_made(tmp_path: Path, step: RegexReplace, expected: str) -> None:
    contents = {"x": b"hello", "bytes": b"\xff", "y": b"l", "y.orig": b"", "good": b"g"}
    model = downloaded(tmp_path, contents, edit("good", "g", "G"), step)
    (tmp_path / "foreign").write_bytes(b"l")
    assert expected in refusal(model, tmp_path)


@pytest.mark.parametrize(
    ("step", "content"),
    [
        (edit("x", "", "y" * 10_000), b"x" * 100_000),
        (edit("x", "(?s).*", r"\g<0>" * 100), b"x" * 1_000_000),
        (edit("x", "(?s)(?=(.*))x", r"\1"), b"x" * 20_000),
    ],
)
def test_replacements_that_would_fill_the_memory(tmp_path: Path, step: RegexReplace, content: bytes) -> None:
    model = downloaded(tmp_path, {"x": content}, step)
    assert f"the replacements would have more than {64 << 20} characters" in refusal(model, tmp_path)


def test_a_text_too_long_to_replace_in(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"x": bytes((64 << 20) + 1)}, edit("x", "a", "b"))
    assert f"{tmp_path / 'x'}: expected a text of at most {64 << 20} bytes" in refusal(model, tmp_path)


def test_count_bounds_the_replacements(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"x": b"aaaa"}, edit("x", "a", "b", count=3))
    postprocess(model, tmp_path)
    assert tree(tmp_path) == {"x": b"bbba", "x.orig": b"aaaa"}


def test_an_archive_twice(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"a.zip": zipped({"x": b""})}, unpack("a.zip"), unpack("a.zip"))
    assert "got an archive that an earlier step has removed" in refusal(model, tmp_path)


def test_a_file_that_is_not_the_descriptors(tmp_path: Path) -> None:
    model = downloaded(tmp_path, {"a.zip": zipped({"x": b"1"})}, unpack("a.zip"))
    (tmp_path / "a.zip").write_bytes(zipped({"x": b"2"}))
    assert "expected the file of the descriptor, got another (hash mismatch)" in refusal(model, tmp_path)
    (tmp_path / "a.zip").unlink()
    assert "got another (expected a downloaded file, got none)" in refusal(model, tmp_path)


def done(folder: Path) -> Toy:
    model = downloaded(folder, {**WHEELS, "left/alone": b"as it is"}, *STEPS)
    postprocess(model, folder)
    assert is_postprocessed(model, folder)
    return model


def test_other_files_or_steps_are_not_done(tmp_path: Path) -> None:
    model = done(tmp_path)
    assert not is_postprocessed(replace(model, postprocessing=model.postprocessing[:-1]), tmp_path)
    files = (*model.files[:-1], described("left/alone", b"as it was"))
    assert not is_postprocessed(replace(model, files=files), tmp_path)
    other = edit("gpt2/config.json", '"n_head"', '"heads"', count=0)
    assert not is_postprocessed(replace(model, postprocessing=(*model.postprocessing[:-1], other)), tmp_path)


@pytest.mark.parametrize("name", ["left/alone", *RESULT])
def test_a_file_lost_or_cut(tmp_path: Path, name: str) -> None:
    model = done(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content + b"!")
    assert not is_postprocessed(model, tmp_path)
    path.unlink()
    assert not is_postprocessed(model, tmp_path)
    faults = {found: str(error) for found, error in check_finished(model, tmp_path) if error}
    assert faults == {path: "expected a downloaded file, got none"}


def test_the_check_reads_every_file(tmp_path: Path) -> None:
    model = done(tmp_path)
    checked = dict(check_finished(model, tmp_path))
    assert set(checked) == {tmp_path / name for name in ("left/alone", *RESULT)}
    assert set(checked.values()) == {None}
    path = tmp_path / "torch_like/util.py"
    path.write_bytes(path.read_bytes().replace(b"None", b"Nine"))
    (tmp_path / "left/alone").write_bytes(b"as it IS")
    assert not is_postprocessed(model, tmp_path)
    faults = {found: str(error) for found, error in check_finished(model, tmp_path) if error}
    assert faults == {path: "hash mismatch", tmp_path / "left/alone": "hash mismatch"}


RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["../x", "/etc/passwd"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "size", "sha256", "files", "steps", "outputs"]), inner)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, Path, dict[str, list]]:
    """Return a model, its folder and its record."""
    folder = tmp_path_factory.mktemp("record")
    model = downloaded(folder, {"x": b"a"}, edit("x", "a", "bb"))
    postprocess(model, folder)
    return model, folder, json.loads((folder / RECORD).read_text())


@settings(max_examples=200, deadline=None)
@given(record=RECORDS, raw=st.none() | st.binary(max_size=30))
def test_a_record_that_is_not_ours(
    edited: tuple[Toy, Path, dict[str, list]], record: object, raw: bytes | None
) -> None:
    """It counts as none, wherever its outputs are said to be."""
    model, folder, ours = edited
    outputs = [{**ours["outputs"][0], "path": record}]
    for content in (record, {**ours, "outputs": record}, {**ours, "outputs": outputs}, {**ours, "steps": record}):
        (folder / RECORD).write_bytes(json.dumps(content).encode() if raw is None else raw)
        assert not is_postprocessed(model, folder)
        assert all(folder in (path, *path.parents) for path, _ in check_finished(model, folder))


def test_a_record_nested_too_deep(tmp_path: Path) -> None:
    model = done(tmp_path)
    (tmp_path / RECORD).write_bytes(b"[" * 200_000)
    assert not is_postprocessed(model, tmp_path)


def test_a_second_process_waits_and_finds_it_done(tmp_path: Path) -> None:
    model = downloaded(tmp_path, WHEELS, *STEPS)
    child = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        import test_postprocess as t
        from pathlib import Path
        folder = Path(sys.argv[1])
        t.postprocess(t.described_only(), folder, lambda text: print(text, flush=True))
    """)
    command = [sys.executable, "-c", child, tmp_path]
    held = contextlib.ExitStack()
    held.enter_context(exclusive(tmp_path / LOCK, lambda: None))
    with held, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "Waiting for another omz_downloader at work on this model...\n"
        assert tree(tmp_path).items() >= WHEELS.items()
        held.close()
        said = process.stdout.read()
    assert process.returncode == 0
    assert said.startswith("Unpacking ")
    assert tree(tmp_path) == RESULT
    assert is_postprocessed(model, tmp_path)


def described_only() -> Toy:
    return Toy(tuple(described(name, content) for name, content in WHEELS.items()), STEPS)


CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


def killed_at(step: int, folder: Path) -> bool:
    """Postprocess in a child that dies by SIGKILL just before its step-th change; False if it ended before."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGES and str(folder) in str(arguments[0]):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        code = 1
        try:
            postprocess(described_only(), folder)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_killed_anywhere(tmp_path: Path) -> None:
    """What is there is old or new or absent; the next run ends it; nothing but what belongs there stays."""
    step, killed = 0, True
    old = {name: b"old " + content for name, content in RESULT.items()}
    while killed:
        folder = tmp_path / str(step)
        downloaded(folder, {**old, **WHEELS})
        killed = killed_at(step, folder)
        seen = {name: content for name, content in tree(folder).items() if not name.startswith(f"{STAGING}/")}
        for name, content in seen.items():
            assert name == LOCK or content in (old.get(name), RESULT.get(name), WHEELS.get(name)), (step, name)
        model = described_only()
        if is_postprocessed(model, folder):
            assert {name: content for name, content in seen.items() if name in RESULT} == RESULT
        else:
            assert WHEELS.keys() - {"gpt2/config.json"} <= seen.keys()
            assert WHEELS["gpt2/config.json"] in (seen["gpt2/config.json"], seen["gpt2/config.json.orig"])
        postprocess(model, folder)
        assert tree(folder) == RESULT
        assert is_postprocessed(model, folder)
        step += 1
    assert step > 60


def test_the_descriptor_changes(tmp_path: Path) -> None:
    """Steps of another version of the files begin with their bytes, not with what an older one left."""
    postprocess(downloaded(tmp_path, {"x": b"a1"}, edit("x", "a", "b")), tmp_path)
    model = downloaded(tmp_path, {"x": b"a2"}, edit("x", "a", "c"))
    postprocess(model, tmp_path)
    assert tree(tmp_path) == {"x": b"c2", "x.orig": b"a2"}
    assert is_postprocessed(model, tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    model = Toy((described("x", b"a"),), (edit("x", "a", "b"),))
    assert not is_postprocessed(model, tmp_path / "none")
    with pytest.raises(Problem, match="expected a downloaded file, got none"):
        postprocess(model, tmp_path / "none")

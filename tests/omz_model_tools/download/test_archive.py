"""Archives are unpacked within their folder and limits, whatever their headers say."""

import io
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor import model_yml as reader
from omz_model_tools.download.archive import Limits, Names, limits, unpack

HERE = PurePosixPath()
MODES = {"bztar": "w:bz2", "gztar": "w:gz", "tar": "w", "xztar": "w:xz"}
KINDS = [*MODES, "zip"]
PLENTY = Limits(10_000_000, "enough for a test")


def make(kind: str, entries: list[tuple[str, bytes | None]]) -> bytes:
    """An archive of these names and contents, None for a folder."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in entries:
                info = zipfile.ZipInfo(name if content is not None else f"{name}/")
                opened.writestr(info, content or b"", zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=out, mode=MODES[kind]) as opened:
            for name, content in entries:
                add(opened, name, content or b"", tarfile.REGTYPE if content is not None else tarfile.DIRTYPE)
    return out.getvalue()


def add(opened: tarfile.TarFile, name: str, content: bytes, kind: bytes, **changed: object) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type = len(content), kind
    for key, value in changed.items():
        setattr(member, key, value)
    opened.addfile(member, io.BytesIO(content))


def tar_of(name: str, kind: bytes, **changed: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        add(opened, name, b"", kind, **changed)
    return out.getvalue()


def unpacked(folder: Path, kind: str, content: bytes, most: Limits = PLENTY, fixed: tuple[str, ...] = ()) -> Path:
    """Unpack below a fresh folder `root`; what was there is around it, to be compared."""
    path, root = folder / "archive", folder / "root"
    path.write_bytes(content)
    root.mkdir()
    unpack(path, kind, root, HERE, Names(map(PurePosixPath, fixed), re.compile(r"\.ours.*")), most)
    return root


def refusal(folder: Path, kind: str, content: bytes, **options: object) -> str:
    with pytest.raises(Problem) as caught:
        unpacked(folder, kind, content, **options)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'archive'}: ")
    assert text.endswith("; nothing was unpacked")
    assert text.isprintable()
    return text


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_comes_out(tmp_path: Path, kind: str) -> None:
    entries = [("empty", None), ("a.txt", b"one"), ("b/c/d.bin", bytes(range(256)) * 1000), ("b/nothing", b"")]
    assert tree(unpacked(tmp_path, kind, make(kind, entries))) == {**dict(entries), "b": None, "b/c": None}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_entries(tmp_path: Path, kind: str) -> None:
    assert tree(unpacked(tmp_path, kind, make(kind, []))) == {}


def test_tar_of_a_folder_named_dot(tmp_path: Path) -> None:
    content = make("tar", [(".", None), ("./a", b"1"), ("./b", None), ("./b/c", b"2")])
    assert tree(unpacked(tmp_path, "tar", content)) == {"a": b"1", "b": None, "b/c": b"2"}


def test_below_the_archives_own_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make("zip", [("x", b"1")]))
    names = Names([PurePosixPath("sub/a.zip")], re.compile("$"))
    unpack(tmp_path / "a.zip", "zip", tmp_path / "root", PurePosixPath("sub"), names, PLENTY)
    assert tree(tmp_path / "root") == {"sub": None, "sub/x": b"1"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["../x"], '".." parts'),
        (["a/../../x"], '".." parts'),
        (["/x"], "a relative path"),
        (["//x"], "a relative path"),
        (["./../x"], '".." parts'),
        (["C:/x"], "forward slashes"),
        (["C:x"], "forward slashes"),
        (["a\\..\\x"], "forward slashes"),
        (["a/C:evil.txt"], "names that Windows has too"),
        (["CON"], "names that Windows has too"),
        (["folder./x"], "names that Windows has too"),
        (["a\nb"], "control characters"),
        (["a\x1b[31m"], "control characters"),
        (["a\u202eb"], "control characters"),
        (["a" * 256], "at most 255 bytes"),
        (["ä" * 128], "at most 255 bytes"),
        (["a", "a"], "one entry of this name, got two"),
        (["a", "./a"], "one entry of this name, got two"),
        (["Read.me", "READ.ME"], "collides with the file 'Read.me'"),
        (["Folder/x", "folder/y"], "collides with the folder 'Folder'"),
        (["stra\u00dfe", "STRASSE"], "collides with the file"),
        (["\u00e9", "e\u0301"], "collides with the file"),
        (["a", "a/b"], "collides with the file 'a'"),
        (["a/b", "a"], "collides with the folder 'a'"),
        (["fixed"], "that of a file of the descriptor"),
        (["FIXED"], "collides with the file 'fixed'"),
        (["fixed/x"], "collides with the file 'fixed'"),
        ([".ours.json"], "keep for themselves"),
        (["a/.ours/x"], "keep for themselves"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_not_to_be_had(tmp_path: Path, kind: str, names: list[str], expected: str) -> None:
    content = make(kind, [(name, b"!") for name in names])
    assert expected in refusal(tmp_path, kind, content, fixed=("fixed",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "root"]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (tarfile.SYMTYPE, {"linkname": "/etc/passwd"}),
        (tarfile.SYMTYPE, {"linkname": "inside"}),
        (tarfile.LNKTYPE, {"linkname": "../archive"}),
        (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
        (tarfile.BLKTYPE, {"devmajor": 8}),
        (tarfile.FIFOTYPE, {}),
        (tarfile.GNUTYPE_SPARSE, {}),
        (b"Z", {}),
    ],
)
def test_a_tar_member_that_is_no_file(tmp_path: Path, kind: bytes, changed: dict[str, object]) -> None:
    text = refusal(tmp_path, "tar", tar_of("x", kind, **changed))
    assert "got a link or a special file" in text or "damaged" in text
    assert tree(tmp_path / "root") == {}


def test_a_zip_entry_that_is_a_link(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        info = zipfile.ZipInfo("x")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    assert "entry 'x': expected a file or a folder, got a link" in refusal(tmp_path, "zip", out.getvalue())


def test_permissions_are_plain(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        add(opened, "x", b"1", tarfile.REGTYPE, mode=0o6777, uid=0)
    root = unpacked(tmp_path, "tar", out.getvalue())
    (tmp_path / "plain").write_bytes(b"")
    assert (root / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_bytes(tmp_path: Path, kind: str) -> None:
    content = make(kind, [("a", bytes(300_000)), ("b", bytes(300_000))])
    text = refusal(tmp_path, kind, content, most=Limits(500_000, "the reason"))
    assert "expected at most 500000 bytes (the reason), got more" in text


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_entries(tmp_path: Path, kind: str) -> None:
    content = make(kind, [(str(number), b"") for number in range(11)])
    assert "expected at most 10 entries, got more" in refusal(tmp_path, kind, content, most=Limits(10**6, "", 10))
    (tmp_path / "again").mkdir()
    assert len(tree(unpacked(tmp_path / "again", kind, content, most=Limits(10**6, "", 11)))) == 11


def test_limits_by_hand() -> None:
    mib = 1 << 20
    assert limits(10, 1000 * mib).size == 64 * mib
    assert limits(mib, 10_000 * mib).size == 1000 * mib
    assert limits(mib, 164 * mib) == Limits(100 * mib, f"{164 * mib} bytes are free on the disk")
    assert limits(mib, 10).size == 0


def test_a_zip_that_says_less_than_it_holds(tmp_path: Path) -> None:
    """The size in its headers is a lie: the bytes that come out are counted, and their checksum is not theirs."""
    content = make("zip", [("a", b"x" * 5000)])
    lie = content.replace(struct.pack("<L", 5000), struct.pack("<L", 10))
    assert lie.count(struct.pack("<L", 10)) == 2
    assert "expected an archive (zip), got damaged" in refusal(tmp_path, "zip", lie)


def test_a_zip_that_says_more_than_it_holds(tmp_path: Path) -> None:
    lie = make("zip", [("a", b"x" * 5000)]).replace(struct.pack("<L", 5000), struct.pack("<L", 1 << 30))
    assert "entry 'a': expected 1073741824 bytes, got 5000" in refusal(tmp_path, "zip", lie)


def test_a_zip_that_says_nothing_is_there(tmp_path: Path) -> None:
    lie = make("zip", [("a", b"x" * 5000)]).replace(struct.pack("<L", 5000), bytes(4))
    assert "entry 'a': expected no bytes, got the checksum of some" in refusal(tmp_path, "zip", lie)


def test_a_zip_folder_with_bytes(tmp_path: Path) -> None:
    lie = make("zip", [("a", b"x")]).replace(b"a", b"/")
    text = refusal(tmp_path, "zip", lie)
    assert "entry '/': expected a folder, got one of 1 bytes" in text


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(make("zip", [("a", b"x")]))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    assert "expected bytes in the clear, got encrypted ones" in refusal(tmp_path, "zip", bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_zipfile_would_read_into_memory_whole(tmp_path: Path, method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        opened.writestr("a", bytes(1000))
    assert f"got method {method}" in refusal(tmp_path, "zip", out.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    content = make(kind, [("a", os.urandom(700)), ("b", b"2")])
    end = len(content)
    if kind == "tar":  # whose end is two blocks of zeros and then padding
        end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    for number, cut in enumerate(range(0, end, 61)):
        (tmp_path / str(number)).mkdir()
        assert "expected" in refusal(tmp_path / str(number), kind, content[:cut])


@pytest.mark.parametrize("kind", ["bztar", "gztar", "xztar"])
def test_the_checksum_at_the_end_is_read(tmp_path: Path, kind: str) -> None:
    content = bytearray(make(kind, [("a", b"1")]))
    content[-9 if kind != "gztar" else -6] ^= 1
    assert "damaged or other bytes" in refusal(tmp_path, kind, bytes(content))


def test_streams_of_xz_one_after_the_other(tmp_path: Path) -> None:
    content = make("tar", [("a", b"1" * 100_000)])
    packed = lzma.compress(content[:70_000]) + bytes(8) + lzma.compress(content[70_000:])
    assert (unpacked(tmp_path, "xztar", packed) / "a").read_bytes() == b"1" * 100_000


def test_a_dictionary_of_4_gib(tmp_path: Path) -> None:
    content = bytearray(make("xztar", [("a", b"1")]))
    size = (content[12] + 1) * 4  # of the first block's header, behind the 12 bytes of the stream's (xz-file-format)
    assert content[14:16] == b"\x21\x01"  # LZMA2, whose one byte of properties is the size of its dictionary
    content[16] = 40
    content[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(content[12 : 12 + size - 4]))
    assert "Memory usage limit exceeded" in refusal(tmp_path, "xztar", bytes(content))


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any twelve bytes for its size."""
    block = bytearray(tarfile.TarInfo(name).tobuf())
    block[124:136] = size
    block[156:157] = kind
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_tar_that_leads_back_to_its_own_start(tmp_path: Path) -> None:
    back = header("a", b"\xff" * 10 + struct.pack(">h", -512), b"5") + header(
        "a", (-1024).to_bytes(12, "big", signed=True)
    )
    assert "expected" in refusal(tmp_path, "tar", back + bytes(1024))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_tar_header_that_would_fill_the_memory(tmp_path: Path, kind: bytes) -> None:
    size = b"%011o\0" % (1 << 32)
    assert "expected headers of at most 65536 bytes" in refusal(tmp_path, "tar", header("a", size, kind) + bytes(1024))


def test_a_long_chain_of_tar_headers(tmp_path: Path) -> None:
    assert "expected" in refusal(tmp_path, "tar", header("a", b"00000000000\0", b"L") * 5000 + bytes(1024))


def outside(folder: Path) -> dict[str, bytes | None]:
    return {name: content for name, content in tree(folder).items() if name.split("/")[0] not in ("root", "archive")}


def judge(kind: str, content: bytes, made: Callable[[dict[str, bytes]], bool]) -> None:
    """Unpacked or refused, never another thing; and nothing outside changes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bystander").write_bytes(b"stays")
        try:
            root = unpacked(folder, kind, content, Limits(1_000_000, "", 100))
        except Problem as problem:
            assert str(problem).isprintable()  # noqa: PT017
        else:
            assert made({path: found for path, found in tree(root).items() if found is not None})
        assert outside(folder) == {"bystander": b"stays"}
        assert not any(path.is_symlink() for path in (folder / "root").rglob("*"))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=2000))
def test_random_bytes(kind: str, content: bytes) -> None:
    judge(kind, content, lambda made: True)


GOOD = {"a.txt": b"some text " * 30, "b/c.bin": bytes(range(256)) * 3, "b/d": b""}
ARCHIVES = {kind: make(kind, list(GOOD.items())) for kind in KINDS}


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 20),
)
def test_random_mutations(kind: str, changes: list[tuple[int, int]], cut: int) -> None:
    """With checksums (all but tar, which has them for headers only) the bytes of a file are the true ones."""
    content = bytearray(ARCHIVES[kind])
    for place, value in changes:
        content[place % len(content)] = value
    content = content[: len(content) - cut]
    true = lambda made: kind == "tar" or set(made.values()) <= set(GOOD.values())  # noqa: E731
    judge(kind, bytes(content), true)


HOSTILE = st.lists(
    st.sampled_from(
        [
            *[
                "..",
                ".",
                "",
                "/",
                "\\",
                "C:",
                "a",
                "A",
                "b",
                "\0",
                "\n",
                "\x1b[2J",
                "bystander",
                "root",
                "ä" * 200,
                "~",
            ],
            *["CON", "nul.txt", "COM1", "a.", "b ", "C:evil.txt", "a:b", "what?"],
        ]
    ),
    min_size=1,
    max_size=6,
).map("/".join) | st.text(min_size=1, max_size=20)
MEANT_OTHERWISE_ON_WINDOWS = re.compile(r"(con|nul|com1)(\..*)?|.*[. ]|.*[<>:\"|?*\\].*", re.IGNORECASE | re.DOTALL)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.tuples(HOSTILE, st.binary(max_size=9)), max_size=5))
@example("zip", [("../bystander", b"changed")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_names(kind: str, entries: list[tuple[str, bytes]]) -> None:
    try:
        content = make(kind, entries)
    except (UnicodeError, ValueError, IndexError):  # a name that the archive's writer refuses
        return

    def made_as_meant(made: dict[str, bytes]) -> bool:
        parts = {part for path in made for part in path.split("/")}
        ours = set(made.values()) <= {content for _, content in entries} | {b""}
        return ours and not any(map(MEANT_OTHERWISE_ON_WINDOWS.fullmatch, parts))

    judge(kind, content, made_as_meant)


def test_the_disk_is_full_midway(tmp_path: Path) -> None:
    """An error of the disk is no damage of the archive."""
    (tmp_path / "archive").write_bytes(make("zip", [("full", b"x")]))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "archive", "zip", tmp_path / "root", HERE, Names([], re.compile("$")), PLENTY)


def test_every_kind_of_the_reader_is_known() -> None:
    assert sorted(reader.ARCHIVES) == sorted(KINDS)

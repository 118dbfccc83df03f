"""The downloader through random schedules of faults: several runs over one folder and one cache, then a good one.

After every run the file at its place is the old true one, the new true one, or absent, never another (a wrong one
that was there before the first run may stay until it is replaced); the exit code says whether all files are true;
beside them lie only documented parts; a file that was true was not touched. The last run, with servers that behave,
always succeeds. How many schedules: pytest --fault_schedules N.
"""

import functools
import gzip
import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.model import Model
from omz_model_tools.download.cache import Cache
from omz_model_tools.download.downloader import Downloader
from omz_model_tools.download.fetch import Fetcher
from omz_model_tools.download.progress import NoDisplay
from omz_model_tools.download.sources import LowSpeedLimit, Sources
from support import HANGS_AFTER
from support.hub import Answer, Endless, Hub, Noise, busy
from support.model_tree import descriptor, file_entry, load_models, write_model
from support.soak import FaultSchedules

PAGE = b"<!DOCTYPE html><title>Log in to the network</title>" * 3
LONG_NAME = "n" * 255
OUR_NAMES = (".part", ".anew.part", ".origin.part", ".lock")
NAMES = ("a.bin", "sub/b.bin", LONG_NAME)
SIZES = (0, 1, 50, 3000, 70_000)
EMPTY_MEMBERS = Endless(gzip.compress(b""))
GZIPPED = {"Content-Encoding": "gzip"}
DISK = 3_000_000  # bytes; what a source without an end may fill half of
MINE = {"sub/.mine.part": b"not a part of ours", "notes.txt": b"mine", f".{'0' * 31}.part": b"one digit short"}
ATTEMPTS = 2

# What a server makes of a request for `body`; `other` is another version of the file, `at` a place within it.
FAULTS: dict[str, Callable[[bytes, bytes, int], Answer]] = {
    "behaves": lambda body, other, at: Answer(body),
    "behaves, in chunks": lambda body, other, at: Answer(body, chunked=True),
    "behaves, no length": lambda body, other, at: Answer(body, length=False),
    "behaves, keeps the connection": lambda body, other, at: Answer(body, keep_alive=True),
    "behaves, in small pieces": lambda body, other, at: Answer(body, drip=(max(len(body) // 7, 1), 0)),
    "ignores Range": lambda body, other, at: Answer(body, ranges=False),
    "no Content-Range": lambda body, other, at: Answer(body, content_range=""),
    "Content-Range of another start": lambda body, other, at: Answer(body, content_range="bytes 0-{last}/{total}"),
    "Content-Range of another total": lambda body, other, at: Answer(body, content_range="bytes {first}-{last}/7"),
    "Content-Range of no total": lambda body, other, at: Answer(body, content_range="bytes {first}-{last}/*"),
    "Content-Range that is none": lambda body, other, at: Answer(body, content_range="bites"),
    "starts later": lambda body, other, at: Answer(body, shift=3),
    "starts earlier": lambda body, other, at: Answer(body, shift=-3),
    "206 unasked": lambda body, other, at: Answer(body, 206),
    "garbles": lambda body, other, at: Answer(body, flip=at),
    "another version": lambda body, other, at: Answer(other),
    "another version in chunks": lambda body, other, at: Answer(other, chunked=True),
    "a login page": lambda body, other, at: Answer(PAGE, headers={"Content-Type": "text/html"}),
    "a login page, no length": lambda body, other, at: Answer(PAGE, length=False),
    "longer": lambda body, other, at: Answer(body + b"!"),
    "longer, no length": lambda body, other, at: Answer(body + b"!", length=False),
    "longer than it says": lambda body, other, at: Answer(body + b"!" * 99, declared=len(body), keep_alive=True),
    "shorter": lambda body, other, at: Answer(body[:at]),
    "shorter, no length": lambda body, other, at: Answer(body[:at], length=False),
    "shorter than it says": lambda body, other, at: Answer(body[:at], declared=len(body)),
    "says nothing comes": lambda body, other, at: Answer(body, declared=0),
    "closes early": lambda body, other, at: Answer(body, cut=at),
    "closes early, in chunks": lambda body, other, at: Answer(body, cut=at, chunked=True),
    "closes early, no length": lambda body, other, at: Answer(body, cut=at, length=False),
    "resets": lambda body, other, at: Answer(body, cut=at, reset=True),
    "resets at once": lambda body, other, at: Answer(silent=True, reset=True),
    "stalls": lambda body, other, at: Answer(body, hold=at),
    "drips": lambda body, other, at: Answer(body, drip=(1, 0.02)),
    "without end": lambda body, other, at: Answer(Endless(body + PAGE), chunked=True),
    "without end, no length": lambda body, other, at: Answer(Endless(body + PAGE), length=False, ranges=False),
    "says that it has no end": lambda body, other, at: Answer(Endless(PAGE)),
    "an ETag": lambda body, other, at: Answer(body, headers={"ETag": '"1"'}),
    "closes early, an ETag": lambda body, other, at: Answer(body, headers={"ETag": '"1"'}, cut=at),
    "a login page with an ETag, closes early": lambda body, other, at: Answer(PAGE, headers={"ETag": '"2"'}, cut=50),
    "empty members of gzip without end": lambda body, other, at: Answer(EMPTY_MEMBERS, chunked=True, headers=GZIPPED),
    "gzip that ends within a member": lambda body, other, at: Answer(
        gzip.compress(body)[:-1], length=False, headers=GZIPPED
    ),
    "an encoding that nobody knows": lambda body, other, at: Answer(body, headers={"Content-Encoding": "br"}),
    "compresses": lambda body, other, at: Answer(body, gzip=True, ranges=False),
    "compresses a part": lambda body, other, at: Answer(body, gzip=True),
    "compresses, closes early": lambda body, other, at: Answer(body, gzip=True, cut=at),
    "compresses, garbles": lambda body, other, at: Answer(body, gzip=True, flip=at, chunked=True),
    "says it compresses": lambda body, other, at: Answer(body, headers={"Content-Encoding": "gzip"}),
    "closes without a word": lambda body, other, at: Answer(silent=True),
    "speaks another protocol": lambda body, other, at: Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "ends in its headers": lambda body, other, at: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
    "redirects to a file": lambda body, other, at: Answer(status=302, headers={"Location": "file:///etc/hostname"}),
    "redirects to what is no UTF-8": lambda body, other, at: Answer(
        raw=b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n"
    ),
    "paints the terminal": lambda body, other, at: Answer(
        raw=b"HTTP/1.1 418 \x1b[2J\x1b]0;mine\x07\r\nX-Error-Message: \x1b[31mred\r\nContent-Length: 0\r\n\r\n"
    ),
    "redirects nowhere": lambda body, other, at: Answer(status=302, headers={"Location": "http://127.0.0.1:1/x"}),
    "redirects to a 404": lambda body, other, at: Answer(status=307, headers={"Location": "/nowhere"}),
    "redirects in a circle": lambda body, other, at: Answer(status=302, headers={"Location": "?again"}),
    "busy until a date": lambda body, other, at: busy(2),
    "busy, its clock a day ahead": lambda body, other, at: busy(2, skew=86400),
    "busy, its clock a day behind": lambda body, other, at: busy(2, 503, skew=-86400),
    **{
        f"busy for {after!r}": lambda body, other, at, after=after: Answer(b"", 429, {"Retry-After": after})
        for after in ("0", "3", "100000", "-1", "soon", "")
    },
    **{
        f"{status}": lambda body, other, at, status=status: Answer(b"no", status)
        for status in (204, 304, 400, 401, 403, 404, 408, 410, 416, 418, 425, 500, 502, 503, 504)
    },
}
OF_A_PLACE = {
    "true": lambda body, other, at: body,
    "another version": lambda body, other, at: other,
    "true, cut": lambda body, other, at: body[:at],
    "garbled": lambda body, other, at: _garbled(body, at),
    "garbled, cut": lambda body, other, at: _garbled(body, at)[: at + 1],
    "too long": lambda body, other, at: body + b"!",
    "empty": lambda body, other, at: b"",
}


def _garbled(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else b"?"


@dataclass(frozen=True)
class File:
    """One file in one run: the version its descriptor means, what the disk has, and what each source does in turn."""

    name: str
    size: int
    version: int
    sized: bool
    bounded: bool  # a max_size, where it has no size
    at: int
    place: str | None
    part: str | None
    entry: str | None
    leftover: bool  # an empty lock of this version, a part of the other
    planted: str | None  # one of OUR_NAMES, where a link to a file of mine stands
    sources: tuple[tuple[str, ...], ...]
    cdn: bool

    @property
    def body(self) -> bytes:
        return _content(self.name, self.version, self.size)

    @property
    def other(self) -> bytes:
        return _content(self.name, self.version + 1, self.size + (self.version % 2))

    @functools.cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def lengths(self) -> dict[str, int | None]:
        """What the descriptor says of the length."""
        if self.sized:
            return {"size": self.size}
        return {"size": None, "max_size": 2 * self.size + 9 if self.bounded else None}

    def found(self, state: str) -> bytes:
        """What a place, a part or a cache entry in this state holds."""
        return OF_A_PLACE[state](self.body, self.other, self.at)


@functools.cache
def _content(name: str, version: int, size: int) -> bytes:
    return Noise(size, hash((NAMES.index(name), version)))[:]


@dataclass(frozen=True)
class Run:
    files: tuple[File, ...]
    cached: bool
    offline: bool
    jobs: int
    policy: float = 0.1  # seconds with a server that is slow or says nothing


@st.composite
def schedules(draw: st.DrawFn) -> list[Run]:
    """Up to three runs; files keep their names and sizes, everything else may change."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    sizes = [draw(st.sampled_from(SIZES)) for _ in names]
    files = [_files(name, size) for name, size in zip(names, sizes, strict=True)]
    offline = st.sampled_from([False] * 7 + [True])
    run = st.builds(Run, st.tuples(*files), cached=st.booleans(), offline=offline, jobs=st.sampled_from([1, 3]))
    return draw(st.lists(run, min_size=1, max_size=3))


def _files(name: str, size: int) -> st.SearchStrategy[File]:
    state = st.none() | st.sampled_from(sorted(OF_A_PLACE))
    error = st.sampled_from([*FAULTS, *["behaves", "closes early", "resets"] * 8])
    source = st.lists(error, min_size=1, max_size=3).map(tuple)
    return st.builds(
        File,
        name=st.just(name),
        size=st.just(size),
        version=st.integers(0, 2),
        sized=st.booleans(),
        bounded=st.booleans(),
        at=st.integers(0, max(size - 1, 0)),
        place=state,
        part=state,
        entry=state,
        leftover=st.booleans(),
        planted=st.none() | st.sampled_from(OUR_NAMES),
        sources=st.lists(source, min_size=1, max_size=3).map(tuple),
        cdn=st.booleans(),
    )


def behaving(run: Run) -> Run:
    """The last run: the disk has what the others left, and one source of each file behaves."""
    good = {
        "place": None,
        "part": None,
        "entry": None,
        "leftover": False,
        "planted": None,
        "sources": (("behaves",),),
        "cdn": True,
    }
    return replace(run, files=tuple(replace(file, **good) for file in run.files), offline=False, policy=HANGS_AFTER)


class Stage:
    """One folder, one cache and one tree of descriptors, through the runs of one schedule."""

    def __init__(self, folder: Path, hub: Hub, number: int) -> None:
        self.hub = hub
        self.number = number
        self.tree, self.out, self.cache = folder / "models", folder / "out", folder / "cache"
        self.place = self.out / "public" / "toy"
        for name, content in MINE.items():
            _put(self.place / name, content)

    def prepare(self, run: Run) -> None:
        """Put things where a run finds them, tell the servers what to do, and describe the files."""
        for file in run.files:
            for state, path in ((file.place, self.place / file.name), (file.part, self.part(file))):
                if state is not None:
                    _put(path, file.found(state))
            if file.entry is not None:
                _put(self.entry(file), file.found(file.entry))
            if file.leftover:
                _put(self.part(file).with_suffix(".lock"), b"")
                _put(self.part(file).with_name(f".{hashlib.sha256(file.other).hexdigest()[:32]}.part"), file.other[:9])
            if file.planted is not None:
                link = self.part(file).with_suffix(file.planted)
                link.unlink(missing_ok=True)
                link.symlink_to(self.place / "notes.txt")
        entries = [file_entry(f.name, f.body, self.serve(f), **f.lengths()) for f in run.files]
        write_model(self.tree, "toy", descriptor(*entries))
        self.models = load_models([self.tree])

    def serve(self, file: File) -> list[str]:
        """Each source of the file, at an address of its own; returns the URLs."""
        serve = self.hub.publish if file.cdn else self.hub.serve
        return [
            serve(self.address(file, at), *(FAULTS[error](file.body, file.other, file.at) for error in faults))
            for at, faults in enumerate(file.sources)
        ]

    def address(self, file: File, source: int) -> str:
        return f"{self.number}/{NAMES.index(file.name)}/{source}"

    def part(self, file: File) -> Path:
        return (self.place / file.name).with_name(f".{file.digest[:32]}.part")

    def entry(self, file: File) -> Path:
        return self.cache / "sha256" / file.digest[:2] / file.digest[2:]

    def holds(self, file: File) -> bytes | None:
        return _bytes(self.place / file.name)

    def cached(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.cache.rglob("*") if path.is_file()}

    def go(self, run: Run) -> int:
        """Carry a run out and check all that must be so after it; returns its exit code."""
        before = {file: self.holds(file) for file in run.files}
        stamps = {file: self.stamp(file) for file in run.files}
        cache, asked = self.cached(), len(self.hub.requests)
        # A complete part is not fetched: then the cache is not read, and a damaged entry stays.
        whole = {file for file in run.files if _bytes(self.part(file)) == file.body}
        code = download(self.models, self.out, self.cache if run.cached else None, run)
        requests = self.hub.asked()[asked:]
        for file in run.files:
            assert self.holds(file) in (before[file], file.body), "a file that is neither the old nor the new one"
            if before[file] == file.body:
                assert self.stamp(file) == stamps[file], "a true file was touched"
            for source in range(len(file.sources)):
                times = requests.count(f"/{self.address(file, source)}")
                assert times <= (0 if run.offline or before[file] == file.body else 2 * (ATTEMPTS + 1)), (
                    "too often asked"
                )
        true = [file for file in run.files if self.holds(file) == file.body]
        assert code == (0 if len(true) == len(run.files) else 1), "a wrong exit code"
        self.check_folder(run, code)
        self.check_cache(run, cache, {file for file in true if before[file] != file.body} - whole)
        return code

    def stamp(self, file: File) -> tuple[int, int] | None:
        path = self.place / file.name
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

    def check_folder(self, run: Run, code: int) -> None:
        found = {path for path in self.place.rglob("*") if path.is_file()}
        mine = {self.place / name for name in MINE}
        assert {path: path.read_bytes() for path in mine} == {self.place / n: text for n, text in MINE.items()}
        extra = found - mine - {self.place / file.name for file in run.files}
        parts = {self.part(file).with_suffix(suffix) for file in run.files for suffix in OUR_NAMES}
        assert extra <= (set() if code == 0 else parts), "debris"

    def check_cache(self, run: Run, before: dict[Path, bytes], fetched: set[File]) -> None:
        now = self.cached()
        if not run.cached:
            assert now == before, "a cache that was not named was touched"
        true = {self.entry(file): file.body for file in run.files}
        for path, content in now.items():
            assert content in (before.get(path), true.get(path)), "a wrong cache entry"
        if run.cached:
            assert all(now[self.entry(file)] == file.body for file in fetched), "a fetched file is not in the cache"


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def download(models: list[Model], out: Path, cache: Path | None, run: Run) -> int:
    """What omz_downloader does; 0 or 1, its exit code."""
    sources = Sources("omz_downloader/soak", (run.policy, run.policy), lambda: LowSpeedLimit(window=run.policy))
    fetcher = Fetcher(
        sources.open,
        ATTEMPTS,
        random=lambda: 0.0,
        free_space=lambda _: DISK - sum(path.stat().st_size for path in out.rglob(".*.part") if path.is_file()),
        sleep=lambda token, seconds: token.check(),
        cache=None if cache is None else Cache(cache),
        offline=run.offline,
    )
    said = io.StringIO()
    failed = Downloader(out, fetcher.fetch, Report(said, said), NoDisplay(), run.jobs).download(models)
    assert all(character.isprintable() or character == "\n" for character in said.getvalue()), "another's escapes"
    return 1 if failed else 0


def play(schedule: list[Run], folder: Path, hub: Hub, number: int) -> None:
    """All runs of a schedule, then one that must succeed, then one that has nothing to fetch."""
    stage = Stage(folder, hub, number)
    for run in schedule:
        stage.prepare(run)
        stage.go(run)
    last = behaving(schedule[-1])
    stage.prepare(last)
    assert stage.go(last) == 0, "servers that behave, and no file"
    asked = len(hub.requests)
    assert stage.go(last) == 0
    assert len(hub.requests) == asked, "fetched twice"


def test_the_published_file_is_the_old_one_the_new_one_or_absent(
    tmp_path: Path, fault_schedules: FaultSchedules
) -> None:
    with Hub() as hub:

        @settings(
            max_examples=fault_schedules.wanted,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(schedules())
        def every(schedule: list[Run]) -> None:
            number = fault_schedules.begin()
            folder = tmp_path / str(number)
            try:
                play(schedule, folder, hub, number)
            except BaseException:
                fault_schedules.violations += 1
                raise
            finally:
                hub.requests.clear()
                shutil.rmtree(folder, ignore_errors=True)

        every()

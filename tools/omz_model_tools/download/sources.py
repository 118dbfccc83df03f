"""The bytes of a source, over HTTP or from beside the descriptor; it knows no checksum and no destination."""

import contextlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from omz_model_tools.common.problem import one_line
from omz_model_tools.descriptor.model import FileSource, HttpSource, Source
from omz_model_tools.descriptor.verify import WrongLength

CHUNK = 1 << 18
TIMEOUT = (15.0, 60.0)  # seconds without a connection, seconds without a byte
ANSWER_TIME = 120.0  # seconds until the head of an answer is there, however its bytes drip
MOST_REDIRECTS = 10
WINDOW = 60.0  # seconds
LEAST = 1024  # bytes a second
LONGEST_WAIT = 120  # seconds; who asks for more is not waited for
A_YEAR = 365 * 86400.0  # seconds; who asks for more is understood to mean that
LENGTH = re.compile(r"[0-9]{1,18}")


class Unavailable(Exception):
    """A source did not give its bytes; `passing`: asking again may help, not before `wait` seconds."""

    def __init__(self, reason: str, passing: bool, wait: float = 0) -> None:
        super().__init__(reason)
        self.passing = passing
        self.wait = wait


@dataclass(frozen=True)
class Delivery:
    start: int  # where in the file the first byte belongs: where it was asked for, or 0
    chunks: Iterator[bytes]  # as they arrive; Unavailable at any point
    wake: Callable[[], None] = lambda: None  # called from another thread, ends a wait for the next chunk


class Stalled(Exception):
    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(f"the transfer stalled: {count} bytes in {seconds:.0f} seconds")


class Pace:
    """Raises Stalled where less than `least` bytes a second arrived over a whole `window` of seconds."""

    def __init__(self, window: float = WINDOW, least: int = LEAST, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._least = least
        self._clock = clock
        self._begin()

    def add(self, count: int) -> None:
        self._count += count
        seconds = self._clock() - self._since
        if seconds < self._window:
            return
        if self._count < self._least * seconds:
            raise Stalled(self._count, seconds)
        self._begin()

    def _begin(self) -> None:
        self._since = self._clock()
        self._count = 0


Open = Callable[[Source, int, int | None], AbstractContextManager[Delivery]]


def _now() -> datetime:
    return datetime.now(timezone.utc)


class _Session(requests.Session):
    """Follows no redirect, whatever it is told: requests reads the body of each, however long, to go on."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def target_of(self, answer: requests.Response) -> str | None:
        """Where it sends us, if it does."""
        return super().get_redirect_target(answer)


@dataclass(frozen=True)
class Sources:
    user_agent: str
    timeout: tuple[float, float] = TIMEOUT
    pace: Callable[[], Pace] = Pace
    now: Callable[[], datetime] = _now
    answer_time: float = ANSWER_TIME

    def open(self, source: Source, start: int, size: int | None) -> AbstractContextManager[Delivery]:
        """The file from the byte `start` on, or all of it; WrongLength if another `size` is announced."""
        return self._http(source.url, start, size) if isinstance(source, HttpSource) else _file(source, start, size)

    @contextlib.contextmanager
    def _http(self, url: str, start: int, size: int | None) -> Iterator[Delivery]:
        # A session of its own: threads may not share one.
        with _reachable(), _Session() as session, contextlib.ExitStack() as answers:
            answer = answers.enter_context(self._ask(session, url, start))
            if start and not _goes_on(answer, start, size) and answer.status_code in (206, 416):
                answers.close()
                answer = answers.enter_context(self._ask(session, url, 0))
                start = 0
            if not start or answer.status_code != 206:
                start = 0
                self._check_whole(answer, size)
            # What already has the length of the file is the file: a .gz is often called an encoding.
            decoded = _is_encoded(answer) and (size is None or _length(answer) != size)
            yield Delivery(start, self._chunks(answer, decoded), lambda: _shut(answer))

    def _ask(self, session: _Session, url: str, start: int) -> requests.Response:
        """Follow redirects to an answer."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self.user_agent}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._get(session, url, headers)
            target = session.target_of(answer)
            if target is None:
                return answer
            answer.close()
            url = _redirected(answer.url, target)
            headers.pop("Authorization", None)
            login = answer.request.headers.get("Authorization")
            if login and urlsplit(answer.url)[:2] == urlsplit(url)[:2]:  # the same scheme, host and port
                headers["Authorization"] = login
        raise Unavailable(f"more than {MOST_REDIRECTS} redirects", passing=False)

    def _get(self, session: _Session, url: str, headers: dict[str, str]) -> requests.Response:
        def get() -> requests.Response:
            return session.get(url, stream=True, timeout=self.timeout, headers=headers)

        try:
            return _in_time(get, self.answer_time)
        except requests.RequestException:
            raise
        except (OSError, ValueError) as error:  # no certificates where REQUESTS_CA_BUNDLE says, a .netrc in no encoding
            raise Unavailable(one_line(error), passing=False) from error

    def _check_whole(self, answer: requests.Response, size: int | None) -> None:
        if answer.status_code != 200:
            raise self._refused(answer)
        length = _length(answer)
        if size is not None and length is not None and length != size and not _is_encoded(answer):
            raise WrongLength(size, length)

    def _refused(self, answer: requests.Response) -> Unavailable:
        status, headers = answer.status_code, answer.headers
        words = f"HTTP status {status} {_printable(answer.reason or '')}".rstrip()
        passing = status in (408, 425, 429) or 500 <= status < 600
        wait = retry_after(headers.get("Retry-After", ""), headers.get("Date"), self.now())
        if passing and wait > LONGEST_WAIT:
            return Unavailable(f"{words}, and not to be asked again for {wait:.0f} seconds", passing=False)
        return Unavailable(words, passing, wait)

    def _chunks(self, answer: requests.Response, decoded: bool) -> Iterator[bytes]:
        pace = self.pace()
        with _reachable():
            while chunk := answer.raw.read1(CHUNK, decode_content=decoded):
                pace.add(len(chunk))
                yield chunk


def retry_after(value: str, date: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks for, 0 if it cannot be read; `date` is the header Date."""
    if value.strip().isdecimal():
        return min(float(value), A_YEAR)
    until = _moment(value)
    since = _moment(date or "") or now
    return min(max((until - since).total_seconds(), 0.0), A_YEAR) if until else 0.0


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def _in_time(get: Callable[[], requests.Response], seconds: float) -> requests.Response:
    """What `get` returns or raises; Unavailable if that takes longer: it is then left to itself."""
    outcomes: queue.SimpleQueue[tuple[requests.Response | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((get(), None))
        except Exception as error:  # raised again for the one who waits
            outcomes.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise Unavailable(f"no whole answer in {seconds:.0f} seconds", passing=True) from None
    if error is not None:
        raise error
    assert answer is not None
    return answer


def _redirected(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise Unavailable(f"redirected to no address: {one_line(error)}", passing=False) from error


def _length(answer: requests.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if LENGTH.fullmatch(text) else None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _goes_on(answer: requests.Response, start: int, size: int | None) -> bool:
    """Whether this is, and says that it is, what was asked for: the same file from `start` on."""
    said = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", answer.headers.get("Content-Range", "").strip())
    if answer.status_code != 206 or said is None or _is_encoded(answer):
        return False
    total = None if said[2] == "*" else int(said[2])
    return int(said[1]) == start and (size is None or total in (None, size))


def _is_encoded(answer: requests.Response) -> bool:
    return answer.headers.get("Content-Encoding", "identity").lower() != "identity"


def _shut(answer: requests.Response) -> None:
    with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is closed already
        answer.raw.shutdown()


@contextlib.contextmanager
def _file(source: FileSource, start: int, size: int | None) -> Iterator[Delivery]:
    with contextlib.ExitStack() as stack:
        with _readable():
            stream = stack.enter_context(source.path.open("rb"))
            length = stream.seek(0, os.SEEK_END)
            start = stream.seek(min(start, length))
        if size is not None and length != size:
            raise WrongLength(size, length)
        yield Delivery(start, _read(stream))


def _read(stream: BinaryIO) -> Iterator[bytes]:
    with _readable():
        while chunk := stream.read(CHUNK):
            yield chunk


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(error.strerror or one_line(error), passing=False) from error


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    """Turn what requests, and urllib3 below it, raise into Unavailable."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unavailable(error) from error
    except Stalled as error:
        raise Unavailable(str(error), passing=True) from error


KINDS: list[tuple[type[Exception], str, bool]] = [
    (requests.exceptions.ProxyError, "the proxy failed", True),
    (requests.exceptions.SSLError, "no secure connection", False),
    (requests.exceptions.ConnectTimeout, "no connection in time", True),
    (requests.exceptions.ReadTimeout, "no answer in time", True),
    (requests.exceptions.ConnectionError, "connection failed", True),
    (urllib3.exceptions.ReadTimeoutError, "the transfer stalled", True),  # these two once the body is on its way
    (urllib3.exceptions.HTTPError, "the connection broke", True),
]


def _unavailable(error: Exception) -> Unavailable:
    """What lies at the bottom of their nested errors, in a line a user understands."""
    bottom: BaseException = error
    while deeper := bottom.__cause__ or bottom.__context__:
        bottom = deeper
    detail = bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else one_line(bottom)
    for kind, words, passing in KINDS:
        if isinstance(error, kind):
            return Unavailable(f"{words}: {detail}", passing)
    return Unavailable(detail, passing=False)

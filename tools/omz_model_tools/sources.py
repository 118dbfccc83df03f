"""The bytes of a source, over HTTP or from beside the descriptor; it knows no checksum and no destination."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import BinaryIO

import requests
import urllib3

from omz_model_tools.descriptor import FileSource, HttpSource, Source
from omz_model_tools.pace import Pace, Stalled
from omz_model_tools.problem import one_line
from omz_model_tools.retry_after import LONGEST_WAIT, retry_after
from omz_model_tools.verify import WrongLength

CHUNK = 1 << 18
TIMEOUT = (15.0, 60.0)  # seconds without a connection, seconds without a byte


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


Open = Callable[[Source, int, int | None], AbstractContextManager[Delivery]]


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Sources:
    user_agent: str
    timeout: tuple[float, float] = TIMEOUT
    pace: Callable[[], Pace] = Pace
    now: Callable[[], datetime] = _now

    def open(self, source: Source, start: int, size: int | None) -> AbstractContextManager[Delivery]:
        """The file from the byte `start` on, or all of it; WrongLength if another `size` is announced."""
        return self._http(source.url, start, size) if isinstance(source, HttpSource) else _file(source, start, size)

    @contextlib.contextmanager
    def _http(self, url: str, start: int, size: int | None) -> Iterator[Delivery]:
        # A session of its own: threads may not share one.
        with _reachable(), requests.Session() as session, contextlib.ExitStack() as answers:
            answer = answers.enter_context(self._ask(session, url, start))
            if start and not _goes_on(answer, start, size) and answer.status_code in (206, 416):
                answers.close()
                answer = answers.enter_context(self._ask(session, url, 0))
                start = 0
            if not start or answer.status_code != 206:
                start = 0
                self._check_whole(answer, size)
            yield Delivery(start, self._chunks(answer), lambda: _shut(answer))

    def _ask(self, session: requests.Session, url: str, start: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity", "User-Agent": self.user_agent}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return session.get(url, stream=True, timeout=self.timeout, headers=headers)
        except requests.RequestException:
            raise
        except OSError as error:  # the certificates that REQUESTS_CA_BUNDLE names are not there
            raise Unavailable(one_line(error), passing=False) from error

    def _check_whole(self, answer: requests.Response, size: int | None) -> None:
        if answer.status_code != 200:
            raise self._refused(answer)
        length = answer.headers.get("Content-Length", "")
        if size is not None and length.isdecimal() and int(length) != size and not _is_encoded(answer):
            raise WrongLength(size, int(length))

    def _refused(self, answer: requests.Response) -> Unavailable:
        status, headers = answer.status_code, answer.headers
        words = f"HTTP status {status} {answer.reason or ''}".rstrip()
        passing = status in (408, 425, 429) or 500 <= status < 600
        wait = retry_after(headers.get("Retry-After", ""), headers.get("Date"), self.now())
        if passing and wait > LONGEST_WAIT:
            return Unavailable(f"{words}, and not to be asked again for {wait:.0f} seconds", passing=False)
        return Unavailable(words, passing, wait)

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        pace = self.pace()
        encoded = _is_encoded(answer)
        with _reachable():
            while chunk := answer.raw.read1(CHUNK, decode_content=encoded):
                pace.add(len(chunk))
                yield chunk


def _goes_on(answer: requests.Response, start: int, size: int | None) -> bool:
    """Whether this is, and says that it is, what was asked for: the same file from `start` on."""
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
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

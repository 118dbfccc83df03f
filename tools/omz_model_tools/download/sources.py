"""Open a source of a file: over HTTP, or a local file beside the descriptor."""

import contextlib
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import BinaryIO, TypeAlias
from urllib.parse import urljoin, urlsplit

import requests
import requests.auth
import urllib3

from omz_model_tools.common.problem import is_endless, one_line
from omz_model_tools.descriptor.model import FileSource, HttpSource, Source
from omz_model_tools.descriptor.verify import WrongLength
from omz_model_tools.download.content_encoding import UndecodableError, decode
from omz_model_tools.download.mirror import HUB, mirror_of

CHUNK = 1 << 18  # bytes
TIMEOUT = (15.0, 60.0)  # seconds to connect, seconds without a byte
ANSWER_TIME = 120.0  # seconds for the whole head of a response, also where its bytes trickle in
MOST_REDIRECTS = 10
LOW_SPEED_TIME = 60.0  # seconds, as curl's --speed-time
LOW_SPEED_LIMIT = 1024  # bytes a second, as curl's --speed-limit
LONGEST_WAIT = 120  # seconds of a Retry-After; a source that asks for more is given up
A_YEAR = 365 * 86400.0  # seconds; a longer Retry-After is read as this
MOST_SAID = 300  # characters of a server's own message
LENGTH = re.compile(r"[0-9]{1,18}")


class Unavailable(Exception):
    """A source did not give its bytes; `temporary`: a retry, after at least `wait` seconds, may help."""

    def __init__(self, reason: str, temporary: bool, wait: float = 0) -> None:
        super().__init__(reason)
        self.temporary = temporary
        self.wait = wait


@dataclass(frozen=True)
class Version:
    """What a source says of the file that it has."""

    length: int | None = None  # bytes
    etag: str | None = None

    def contradicts(self, other: "Version") -> bool:
        """Whether the two cannot be the same file."""
        both = ((self.length, other.length), (self.etag, other.etag))
        return any(None not in pair and pair[0] != pair[1] for pair in both)


@dataclass(frozen=True)
class Delivery:
    start: int  # offset in the file of the first byte: the one requested, or 0
    chunks: Iterator[bytes]  # as they arrive, some perhaps empty; Unavailable at any point
    version: Version = Version()
    ends_before: bool = False  # the source says that its file has no byte where it was asked to start
    wake: Callable[[], None] = lambda: None  # from another thread: ends the wait for the next chunk


class Stalled(Exception):
    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(f"the transfer stalled: {count} bytes in {seconds:.0f} seconds")


class LowSpeedLimit:
    """Low-speed limit: raises Stalled after `window` seconds with fewer than `least` bytes a second."""

    def __init__(
        self, window: float = LOW_SPEED_TIME, least: int = LOW_SPEED_LIMIT, clock: Callable[[], float] = time.monotonic
    ) -> None:
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
    """Never follows redirects: requests would read the whole body of each first, however long."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def target_of(self, answer: requests.Response) -> str | None:
        """Return where the response redirects to, if it does."""
        return super().get_redirect_target(answer)


class Bearer(requests.auth.AuthBase):
    """Authorization by a token. Given to requests, it keeps a login of ~/.netrc from taking its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


Origin: TypeAlias = tuple[str, str | None, int | None]


def origin_of(url: str) -> Origin | None:
    """Return scheme, host and port of an address, the same for every way to write them (RFC 6454), or None."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


def hub_token(environment: Mapping[str, str]) -> Callable[[str], Bearer | None]:
    """Return a function that gives the login of a URL: HF_TOKEN for the hub, or HF_ENDPOINT in its place, and no other.

    Not over plain http, but to this machine.
    """
    token = environment.get("HF_TOKEN", "").strip()
    hub = origin_of(mirror_of(environment) or HUB)
    is_safe = hub is not None and (hub[0] == "https" or hub[1] in ("localhost", "127.0.0.1", "::1"))

    def login(url: str) -> Bearer | None:
        return Bearer(token) if token and is_safe and origin_of(url) == hub else None

    return login


def no_login(url: str) -> Bearer | None:
    """Give no login: requests takes that of ~/.netrc, if there is one."""
    return None


@dataclass(frozen=True)
class Sources:
    user_agent: str
    timeout: tuple[float, float] = TIMEOUT
    low_speed_limit: Callable[[], LowSpeedLimit] = LowSpeedLimit
    now: Callable[[], datetime] = _now
    answer_time: float = ANSWER_TIME
    login: Callable[[str], Bearer | None] = no_login

    def open(self, source: Source, start: int, size: int | None) -> AbstractContextManager[Delivery]:
        """Yield the file from the byte `start`, or all of it; WrongLength if the source announces another `size`."""
        return self._http(source.url, start, size) if isinstance(source, HttpSource) else _file(source, start, size)

    @contextlib.contextmanager
    def _http(self, url: str, start: int, size: int | None) -> Iterator[Delivery]:
        # A session per transfer: threads may not share one.
        with _reachable(), _Session() as session, contextlib.ExitStack() as answers:
            answer = answers.enter_context(self._ask(session, url, start))
            ends_before = start > 0 and answer.status_code == 416
            if start and not _resumes(answer, start, size) and answer.status_code in (206, 416):
                answers.close()
                answer = answers.enter_context(self._ask(session, url, 0))
                start = 0
            if not start or answer.status_code != 206:
                start = 0
                self._check_whole(answer, size)
            # A body of the file's own length is not decoded: servers often declare a .gz file as an encoding.
            decoded = _is_encoded(answer) and (size is None or _length(answer) != size)
            chunks = self._chunks(answer, decoded)
            yield Delivery(start, chunks, _version(answer, decoded), ends_before, lambda: _shut(answer))

    def _ask(self, session: _Session, url: str, start: int) -> requests.Response:
        """Send the request, follow redirects, and return the first response that is none."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self.user_agent}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._get(session, url, headers)
            target = _redirected(session, answer)
            if target is None:
                return answer
            answer.close()
            url = target
            headers.pop("Authorization", None)
            login = answer.request.headers.get("Authorization")
            if login and origin_of(answer.url) == origin_of(url):
                headers["Authorization"] = login
        raise Unavailable(f"more than {MOST_REDIRECTS} redirects", temporary=False)

    def _get(self, session: _Session, url: str, headers: dict[str, str]) -> requests.Response:
        def get() -> requests.Response:
            return session.get(url, stream=True, timeout=self.timeout, headers=headers, auth=self.login(url))

        try:
            return _in_time(get, self.answer_time)
        except (requests.RequestException, Unavailable):
            raise
        except Exception as error:  # such as no file at REQUESTS_CA_BUNDLE, or a .netrc that is not UTF-8
            if isinstance(error, urllib3.exceptions.HTTPError) and not isinstance(error, ValueError):
                raise  # a connection that broke: _reachable says so, and that it may be tried again
            raise Unavailable(one_line(error), temporary=False) from error

    def _check_whole(self, answer: requests.Response, size: int | None) -> None:
        if answer.status_code != 200:
            raise self._refused(answer)
        length = _length(answer)
        if size is not None and length is not None and length != size and not _is_encoded(answer):
            raise WrongLength(size, length)

    def _refused(self, answer: requests.Response) -> Unavailable:
        status, headers = answer.status_code, answer.headers
        words = f"HTTP status {status} {(answer.reason or '')[:MOST_SAID]}".rstrip()
        if said := headers.get("X-Error-Message"):  # the hub's own words, such as how to get access
            words = f"{words}: {said[:MOST_SAID]}"
        temporary = status in (408, 425, 429) or 500 <= status < 600
        wait = retry_after(headers.get("Retry-After", ""), headers.get("Date"), self.now())
        if status == 429:
            wait = max(wait, rate_limit_reset(headers.get("RateLimit", "")))
        if temporary and wait > LONGEST_WAIT:
            return Unavailable(
                f"{words}; it asks to wait {wait:.0f} seconds, more than the {LONGEST_WAIT} that are waited",
                temporary=False,
            )
        return Unavailable(words, temporary, wait)

    def _chunks(self, answer: requests.Response, decoded: bool) -> Iterator[bytes]:
        limit = self.low_speed_limit()
        with _reachable():
            chunks = _received(answer)
            # An encoding may decode to nothing without end: what it decodes to is what counts as speed.
            for chunk in decode(chunks, answer.headers["Content-Encoding"]) if decoded else chunks:
                limit.add(len(chunk))
                yield chunk


def retry_after(value: str, date: str | None, now: datetime) -> float:
    """Return the seconds of a Retry-After header, 0 if it cannot be read.

    A date counts from `date`, the header Date, so that the server's clock may be wrong.
    """
    if value.strip().isdecimal():
        return min(float(value), A_YEAR)
    until = _moment(value)
    since = _moment(date or "") or now
    return min(max((until - since).total_seconds(), 0.0), A_YEAR) if until else 0.0


def rate_limit_reset(value: str) -> float:
    """Return the seconds until a RateLimit header's quota is reset, 0 if it cannot be read.

    `RateLimit: "resolve";r=0;t=86`: the IETF draft of draft-ietf-httpapi-ratelimit-headers, as the hub sends it.
    """
    found = re.search(r";\s*t=(\d{1,9})\s*(?:;|,|$)", value)
    return min(float(found[1]), A_YEAR) if found else 0.0


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def _in_time(get: Callable[[], requests.Response], seconds: float) -> requests.Response:
    """Return or raise as `get` does; Unavailable if it takes longer, and then its thread is abandoned."""
    outcomes: queue.SimpleQueue[tuple[requests.Response | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((get(), None))
        except Exception as error:  # raised again in the waiting thread
            outcomes.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise Unavailable(f"no complete response in {seconds:.0f} seconds", temporary=True) from None
    if error is not None:
        raise error
    assert answer is not None
    return answer


def _redirected(session: _Session, answer: requests.Response) -> str | None:
    """Return the address that a response redirects to, if it does."""
    try:
        target = session.target_of(answer)
        return None if target is None else urljoin(answer.url, target)
    except Exception as error:  # of the library and of urljoin: a Location that is not UTF-8, or no address
        answer.close()
        raise Unavailable(f"redirected to no address: {one_line(error)}", temporary=False) from error


def _received(answer: requests.Response) -> Iterator[bytes]:
    while chunk := _read1(answer):
        yield chunk


def _read1(answer: requests.Response) -> bytes:
    try:
        return bytes(answer.raw.read1(CHUNK, decode_content=False))
    except urllib3.exceptions.HTTPError:
        raise
    except Exception as error:  # whatever else it raises is this source's failure too
        raise Unavailable(f"the connection broke: {one_line(error)}", temporary=True) from error


def _length(answer: requests.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if LENGTH.fullmatch(text) else None


def _resumes(answer: requests.Response, start: int, size: int | None) -> bool:
    """Whether the response says that it is the requested range: the same file, from `start`."""
    declared = _content_range(answer)
    if answer.status_code != 206 or declared is None or _is_encoded(answer):
        return False
    first, total = declared
    return first == start and (size is None or total in (None, size))


def _content_range(answer: requests.Response) -> tuple[int, int | None] | None:
    """Return the first byte, and the bytes of the whole file where they are told."""
    declared = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", answer.headers.get("Content-Range", "").strip())
    return declared and (int(declared[1]), None if declared[2] == "*" else int(declared[2]))


def _version(answer: requests.Response, decoded: bool) -> Version:
    declared = _content_range(answer) if answer.status_code == 206 else None
    length = declared[1] if declared else _length(answer)
    return Version(None if decoded else length, answer.headers.get("ETag"))


def _is_encoded(answer: requests.Response) -> bool:
    return answer.headers.get("Content-Encoding", "identity").lower() != "identity"


def _shut(answer: requests.Response) -> None:
    with contextlib.suppress(ValueError, RuntimeError, OSError):  # already closed
        answer.raw.shutdown()


@contextlib.contextmanager
def _file(source: FileSource, start: int, size: int | None) -> Iterator[Delivery]:
    with contextlib.ExitStack() as stack:
        with _readable():
            if is_endless(source.path):  # opening a pipe waits for who writes into it
                raise Unavailable("is a pipe or a device", temporary=False)
            stream = stack.enter_context(source.path.open("rb"))
            length = stream.seek(0, os.SEEK_END)
            ends_before = start > length
            start = stream.seek(0 if ends_before else start)
        if size is not None and length != size:
            raise WrongLength(size, length)
        yield Delivery(start, _read(stream), Version(length), ends_before)


def _read(stream: BinaryIO) -> Iterator[bytes]:
    with _readable():
        while chunk := stream.read(CHUNK):
            yield chunk


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(error.strerror or one_line(error), temporary=False) from error


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    """Turn what requests, and urllib3 below it, raise into Unavailable."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unavailable(error) from error
    except Stalled as error:
        raise Unavailable(str(error), temporary=True) from error
    except UndecodableError as error:
        raise Unavailable(f"the body cannot be decoded: {error}", temporary=True) from error


KINDS: list[tuple[type[Exception], str, bool]] = [
    (requests.exceptions.ProxyError, "the proxy failed", True),
    (requests.exceptions.SSLError, "no secure connection", False),
    (requests.exceptions.ConnectTimeout, "no connection in time", True),
    (requests.exceptions.ReadTimeout, "no answer in time", True),
    (requests.exceptions.ConnectionError, "connection failed", True),
    (urllib3.exceptions.ReadTimeoutError, "the transfer stalled", True),  # these two while the body is read
    (urllib3.exceptions.HTTPError, "the connection broke", True),
]


def _unavailable(error: Exception) -> Unavailable:
    """Say in one line what the innermost of their nested errors is."""
    bottom: BaseException = error
    while deeper := bottom.__cause__ or bottom.__context__:
        bottom = deeper
    is_proxy = isinstance(error, requests.exceptions.ProxyError)
    if isinstance(bottom, socket.gaierror) and not is_proxy:  # offline, or misspelt: neither passes in seconds
        return Unavailable(f"the name of the host cannot be resolved: {bottom.strerror}", temporary=False)
    detail = (bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else one_line(bottom))[:MOST_SAID]
    for kind, words, temporary in KINDS:
        if isinstance(error, kind):
            return Unavailable(f"{words}: {detail}", temporary)
    return Unavailable(detail, temporary=False)

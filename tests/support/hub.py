"""A local HTTP server that behaves like a model hub, or misbehaves as scripted.

    with Hub() as hub:
        url = hub.serve("config.json", Answer(b"{}"), Answer(status=503))  # in turn; the last one stays
        url = hub.publish("model.safetensors", Answer(weights))  # 302 to a CDN's signed address, which answers so

`hub.requests` lists what was asked, `hub.holding` is set while an answer is held back.
"""

import contextlib
import functools
import gzip
import hashlib
import os
import random
import re
import secrets
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol

PIECE = 1 << 16


class Content(Protocol):
    """What bytes, Noise and Endless have in common."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


@dataclass(frozen=True)
class Noise:
    """`size` bytes that look random and do not exist before they are asked for."""

    size: int
    seed: int = 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self.size)
        first = start // PIECE
        blocks = (
            random.Random(f"{self.seed} {block}").randbytes(PIECE) for block in range(first, (stop - 1) // PIECE + 1)
        )
        return b"".join(blocks)[start - first * PIECE : stop - first * PIECE]


@dataclass(frozen=True)
class Endless:
    """The same bytes again and again: more than any disk has."""

    piece: bytes

    def __len__(self) -> int:
        return 1 << 50

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(len(self))
        first = start % len(self.piece)
        times = (first + stop - start) // len(self.piece) + 1
        return (self.piece * times)[first : first + stop - start]


@dataclass(frozen=True)
class Answer:
    """One response; the defaults are those of a server that behaves."""

    body: Content = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    declared: int | None = None  # a Content-Length that is not the body's
    length: bool = True  # False: no Content-Length, the end of the connection is the end of the body
    chunked: bool = False  # the body in chunks, without a Content-Length
    ranges: bool = True  # False: Range is ignored
    content_range: str | None = None  # of a 206, instead of the true one, with {first}, {last}, {total}; "" is none
    shift: int = 0  # a 206 starts this many bytes after the requested one, and says so
    gzip: bool = False  # compressed, whatever was asked for
    flip: int | None = None  # this byte of the file arrives changed
    drip: tuple[int, float] | None = None  # (bytes at a time, seconds between them)
    cut: int | None = None  # close the connection after this many bytes of the body
    reset: bool = False  # close it with a RST
    hold: int | None = None  # after this many bytes of the body, wait until hub.release() or the client has left
    silent: bool = False  # close the connection without a word
    raw: bytes | None = None  # say this instead of HTTP
    keep_alive: bool = False  # leave the connection open for another request


def busy(seconds: float, status: int = 429, skew: float = 0) -> Answer:
    """Send a Retry-After as an HTTP date, on a server whose clock is `skew` seconds ahead."""
    now = time.time() + skew
    headers = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + seconds, usegmt=True)}
    return Answer(b"busy", status, headers)


class Hub:
    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.holding = threading.Event()
        self.held = 0  # answers that were held back so far
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._answers: dict[str, list[Answer]] = {}
        self._signatures: dict[str, set[str]] = {}  # of each address of the CDN, those that were given out
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, path: str, *answers: Answer) -> str:
        """Answer requests for `path` in this way from now on; returns its URL."""
        with self._lock:
            self._answers[f"/{path}"] = list(answers)
            self._signatures.pop(f"/cdn/{path}", None)
        return self.url(path)

    def publish(self, path: str, *answers: Answer) -> str:
        """Send requests for `path` on to a CDN, as a hub does with large files, and answer in this way there."""
        with self._lock:
            self._answers[f"/cdn/{path}"] = list(answers)
            self._answers.pop(f"/{path}", None)
            self._signatures[f"/cdn/{path}"] = set()
        return self.url(path)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def asked(self) -> list[str]:
        """The paths of all requests so far, in order."""
        return [path for path, _ in self.requests]

    def ranges(self, path: str) -> list[str | None]:
        """The Range of each request for `path` so far, in order; None where the whole was asked for."""
        return [headers.get("Range") for asked, headers in self.requests if asked.partition("?")[0] == f"/{path}"]

    def next_answer(self, path: str, headers: dict[str, str]) -> Answer:
        with self._lock:
            self.requests.append((path, headers))
            address, _, query = path.partition("?")
            if f"/cdn{address}" in self._signatures:
                return self._redirect(f"/cdn{address}")
            if query not in self._signatures.get(address, {query}):
                return Answer(b"<Code>AccessDenied</Code>", status=403)
            waiting = self._answers.get(path) or self._answers.get(address) or [Answer(status=404)]
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def _redirect(self, address: str) -> Answer:
        query = f"Expires={int(time.time()) + 3600}&Signature={secrets.token_urlsafe(16)}~&Key-Pair-Id=K2L8"
        self._signatures[address].add(query)
        content = self._answers[address][-1].body
        headers = {
            "Location": f"{self.url(address[1:])}?{query}",
            "X-Repo-Commit": hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest(),
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{_digest(content)}"',
            "ETag": f'"{_digest(content)}"',
            "Accept-Ranges": "bytes",
            "Vary": "Origin, Accept",
        }
        return Answer(b"Found. Redirecting to the CDN", 302, headers)

    def release(self) -> None:
        """Let every answer that is held back go on, and hold back none from now on."""
        self._released.set()

    def hold(self, client: socket.socket) -> None:
        with self._lock:
            self.held += 1
        self.holding.set()
        while not self._released.wait(0.01):
            if select.select([client], [], [], 0)[0]:  # a client that waits says nothing: it has left
                return

    def pause(self, seconds: float) -> None:
        self._released.wait(seconds)


@functools.cache
def _digest(content: Content) -> str:
    if isinstance(content, Endless):
        return "0" * 64
    return hashlib.sha256(b"".join(_pieces(content))).hexdigest()


def _pieces(content: Content, size: int = PIECE) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # the client left, as many of these tests want it to
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class _Part:
    """The bytes of a file, or those from `first` on, as they go out."""

    content: Content
    first: int
    flip: int | None

    def __len__(self) -> int:
        return len(self.content) - self.first

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(len(self))
        piece = bytearray(self.content[self.first + start : self.first + stop])
        if self.flip is not None and start <= self.flip - self.first < stop:
            piece[self.flip - self.first - start] ^= 1
        return bytes(piece)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            answer = hub.next_answer(self.path, dict(self.headers))
            self.close_connection = not answer.keep_alive
            if answer.raw is not None:
                self.wfile.write(answer.raw)
            elif not answer.silent:
                self._say(answer)
            if answer.reset:
                self._reset()

        do_HEAD = do_GET

        def _say(self, answer: Answer) -> None:
            status, content, headers = _response(answer, self.headers.get("Range"))
            self._head(status, headers)
            if self.command != "HEAD":
                self._body(answer, content)

        def _head(self, status: int, headers: Mapping[str, str]) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
            self.end_headers()

        def _body(self, answer: Answer, content: Content) -> None:
            end = len(content) if answer.cut is None else min(answer.cut, len(content))
            wait = end if answer.hold is None else min(answer.hold, end)
            self._stretch(answer, content, 0, wait)
            if answer.hold is not None:
                hub.hold(self.connection)
                self._stretch(answer, content, wait, end)
            if end < len(content):
                self.close_connection = True
            elif answer.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def _stretch(self, answer: Answer, content: Content, start: int, end: int) -> None:
            size, seconds = answer.drip or (PIECE, 0)
            for at in range(start, end, size):
                self._write(content[at : min(at + size, end)], answer.chunked)
                if seconds:
                    hub.pause(seconds)

        def _write(self, piece: bytes, chunked: bool) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                os.close(self.connection.detach())  # close() would say good-bye with a FIN first

        def log_message(self, format: str, *args: object) -> None:
            """The requests are in hub.requests; stderr belongs to the program under test."""

    return Handler


def _response(answer: Answer, asked: str | None) -> tuple[int, Content, dict[str, str]]:
    """Status, body and headers of an answer to a request with this Range."""
    status, total, headers = answer.status, len(answer.body), {"Date": formatdate(usegmt=True)}
    first = _first(asked) if status == 200 and answer.ranges else None
    if status == 200 and answer.ranges:
        headers["Accept-Ranges"] = "bytes"
    if first is not None and first >= total:
        headers["Content-Range"] = f"bytes */{total}"
        return 416, b"", headers | {"Content-Length": "0"} | answer.headers
    if first is not None:
        first = min(max(first + answer.shift, 0), total)
        template = "bytes {first}-{last}/{total}" if answer.content_range is None else answer.content_range
        if template:
            headers["Content-Range"] = template.format(first=first, last=total - 1, total=total)
        status = 206
    content: Content = _Part(answer.body, first or 0, answer.flip)
    if answer.gzip:
        content = gzip.compress(b"".join(_pieces(content)))
        headers["Content-Encoding"] = "gzip"
    if answer.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif answer.length:
        headers["Content-Length"] = str(len(content) if answer.declared is None else answer.declared)
    return status, content, headers | answer.headers


def _first(asked: str | None) -> int | None:
    """The first byte of a Range to the end; other Ranges a server may ignore, and this one does."""
    found = re.fullmatch(r"bytes=(\d+)-", asked or "")
    return int(found[1]) if found else None

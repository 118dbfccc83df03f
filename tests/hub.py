"""A local HTTP server that behaves like a model hub, or misbehaves as told; it knows nothing of what it tests.

    with Hub() as hub:
        url = hub.serve("config.json", Answer(b"{}"), Answer(status=503))  # in turn; the last one stays

`hub.requests` lists what was asked, `hub.holding` is set while an answer is held back.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Answer:
    """One response; the defaults are those of a server that behaves."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    declared: int | None = None  # a Content-Length that is not the body's
    length: bool = True  # False: no Content-Length, the end of the connection is the end of the body
    cut: int | None = None  # close the connection after so many bytes of the body
    hold: int | None = None  # after so many bytes of the body, wait until hub.release()
    silent: bool = False  # close the connection without a word


class Hub:
    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.holding = threading.Event()
        self._released = threading.Event()
        self._answers: dict[str, list[Answer]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
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
        self._answers[f"/{path}"] = list(answers)
        return self.url(path)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def asked(self) -> list[str]:
        """The paths of all requests so far, in order."""
        return [path for path, _ in self.requests]

    def next_answer(self, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append((path, headers))
        waiting = self._answers.get(path, [Answer(status=404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def release(self) -> None:
        """Let every answer that is held back go on."""
        self._released.set()

    def hold(self) -> None:
        self.holding.set()
        self._released.wait()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = hub.next_answer(self.path, dict(self.headers))
            self.close_connection = True
            if not answer.silent:
                self._head(answer)
                self._body(answer)

        def _head(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.length:
                self.send_header("Content-Length", str(answer.declared or len(answer.body)))
            self.send_header("Connection", "close")
            self.end_headers()

        def _body(self, answer: Answer) -> None:
            try:
                self.wfile.write(answer.body[: answer.cut if answer.hold is None else answer.hold])
                if answer.hold is not None:
                    hub.hold()
                    self.wfile.write(answer.body[answer.hold :])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client left, as many of these tests want it to

        def log_message(self, format: str, *args: object) -> None:
            """The requests are in hub.requests; stderr belongs to the program under test."""

    return Handler

"""The bytes of a source, over HTTP or from beside the descriptor; it knows no checksum and no destination."""

from collections.abc import Generator
from types import TracebackType

import requests

from omz_model_tools.descriptor import FileSource, HttpSource, Source
from omz_model_tools.problem import one_line

CHUNK = 1 << 20
TIMEOUT = (15.0, 60.0)  # seconds without a connection, seconds without a byte


class Unavailable(Exception):
    """A source did not give its bytes; `passing` says whether asking again may help."""

    def __init__(self, reason: str, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Sources:
    """Reads sources over one HTTP session, which it closes at the end."""

    def __init__(self, timeout: tuple[float, float] = TIMEOUT) -> None:
        self._timeout = timeout
        self._session = requests.Session()

    def __enter__(self) -> "Sources":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def read(self, source: Source) -> Generator[bytes, None, None]:
        """Chunk after chunk, as they arrive; Unavailable at any point."""
        return self._http(source) if isinstance(source, HttpSource) else _file(source)

    def _http(self, source: HttpSource) -> Generator[bytes, None, None]:
        headers = {"Accept-Encoding": "identity"}
        try:
            with self._session.get(source.url, stream=True, timeout=self._timeout, headers=headers) as response:
                if response.status_code != 200:
                    raise _refused(response.status_code, response.reason or "")
                yield from response.iter_content(CHUNK)
        except requests.RequestException as error:
            raise _unavailable(error) from error


def _file(source: FileSource) -> Generator[bytes, None, None]:
    try:
        with source.path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise Unavailable(error.strerror or one_line(error), passing=False) from error


def _refused(status: int, words: str) -> Unavailable:
    passing = status in (408, 425, 429) or 500 <= status < 600
    return Unavailable(f"HTTP status {status} {words}".rstrip(), passing)


def _unavailable(error: requests.RequestException) -> Unavailable:
    """What lies at the bottom of requests' nested errors, in a line a user understands."""
    kinds: list[tuple[type[requests.RequestException], str, bool]] = [
        (requests.exceptions.ProxyError, "the proxy failed", True),
        (requests.exceptions.SSLError, "no secure connection", False),
        (requests.exceptions.ConnectTimeout, "no connection in time", True),
        (requests.exceptions.ReadTimeout, "no answer in time", True),
        (requests.exceptions.ChunkedEncodingError, "the connection broke", True),
        (requests.exceptions.ContentDecodingError, "the connection broke", True),
        (requests.exceptions.ConnectionError, "connection failed", True),
    ]
    bottom: BaseException = error
    while deeper := bottom.__cause__ or bottom.__context__:
        bottom = deeper
    detail = bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else one_line(bottom)
    for kind, words, passing in kinds:
        if isinstance(error, kind):
            return Unavailable(f"{words}: {detail}", passing)
    return Unavailable(detail, passing=False)

"""sources: the bytes a server or a folder has, and a short reason where they cannot be had."""

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Answer, Hub

from omz_model_tools.descriptor import FileSource, HttpSource, Source
from omz_model_tools.sources import Sources, Unavailable

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


def get(source: Source | str, timeout: tuple[float, float] = (5, 5)) -> bytes:
    with Sources(timeout) as sources:
        return b"".join(sources.read(HttpSource(source) if isinstance(source, str) else source))


def refusal(source: Source | str, timeout: tuple[float, float] = (5, 5)) -> tuple[str, bool]:
    with pytest.raises(Unavailable) as caught:
        get(source, timeout)
    return str(caught.value), caught.value.passing


def test_a_server_that_behaves(hub: Hub) -> None:
    assert get(hub.serve("x", Answer(CONTENT))) == CONTENT
    ((path, headers),) = hub.requests
    assert (path, headers["Accept-Encoding"]) == ("/x", "identity")


def test_redirects_are_followed(hub: Hub) -> None:
    there = hub.serve("cdn/x", Answer(CONTENT))
    hub.serve("x", Answer(status=302, headers={"Location": there}))
    assert get(hub.url("x")) == CONTENT


def test_without_a_content_length_the_end_is_the_end(hub: Hub) -> None:
    assert get(hub.serve("x", Answer(CONTENT, length=False))) == CONTENT


def test_a_server_that_compresses_though_asked_not_to(hub: Hub) -> None:
    answer = Answer(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
    assert get(hub.serve("x", answer)) == CONTENT


@pytest.mark.parametrize(
    ("status", "reason", "passing"),
    [
        (401, "HTTP status 401 Unauthorized", False),
        (403, "HTTP status 403 Forbidden", False),
        (404, "HTTP status 404 Not Found", False),
        (410, "HTTP status 410 Gone", False),
        (204, "HTTP status 204 No Content", False),
        (206, "HTTP status 206 Partial Content", False),
        (429, "HTTP status 429 Too Many Requests", True),
        (500, "HTTP status 500 Internal Server Error", True),
        (503, "HTTP status 503 Service Unavailable", True),
        (599, "HTTP status 599", True),
    ],
)
def test_a_status_that_is_no_success(hub: Hub, status: int, reason: str, passing: bool) -> None:
    assert refusal(hub.serve("x", Answer(b"no", status=status))) == (reason, passing)


def test_redirects_without_end(hub: Hub) -> None:
    hub.serve("x", Answer(status=302, headers={"Location": hub.url("x")}))
    assert refusal(hub.url("x")) == ("Exceeded 30 redirects.", False)


def test_a_redirect_to_a_local_file_is_not_followed(hub: Hub) -> None:
    hub.serve("x", Answer(status=302, headers={"Location": "file:///etc/passwd"}))
    reason, passing = refusal(hub.url("x"))
    assert reason == "No connection adapters were found for 'file:///etc/passwd'"
    assert not passing


def test_a_connection_that_breaks_in_the_middle(hub: Hub) -> None:
    reason, passing = refusal(hub.serve("x", Answer(CONTENT, cut=1000)))
    assert reason == "the connection broke: IncompleteRead(1000 bytes read, 1279000 more expected)"
    assert passing


def test_a_connection_that_closes_without_a_word(hub: Hub) -> None:
    expected = ("connection failed: Remote end closed connection without response", True)
    assert refusal(hub.serve("x", Answer(silent=True))) == expected


def test_a_server_that_stalls(hub: Hub) -> None:
    expected = ("connection failed: timed out", True)
    assert refusal(hub.serve("x", Answer(CONTENT, hold=10)), timeout=(5, 0.2)) == expected
    assert hub.holding.is_set()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        assert refusal(url) == ("connection failed: Connection refused", True)


def test_a_host_that_does_not_exist() -> None:
    reason, passing = refusal("http://no-such-host.invalid/x")
    assert reason.startswith("connection failed: ")
    assert "\n" not in reason
    assert passing


def test_a_server_that_speaks_no_tls(hub: Hub) -> None:
    reason, passing = refusal(hub.serve("x", Answer(CONTENT)).replace("http", "https"))
    assert reason.startswith("no secure connection: ")
    assert not passing


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert refusal("http://example.invalid/x") == ("the proxy failed: Connection refused", True)


def test_a_file_beside_the_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert get(FileSource(tmp_path / "x")) == CONTENT
    assert refusal(FileSource(tmp_path / "y")) == ("No such file or directory", False)
    assert refusal(FileSource(tmp_path)) == ("Is a directory", False)


def test_a_reader_that_leaves_early_closes_the_connection(hub: Hub) -> None:
    with Sources((5, 5)) as sources:
        chunks = sources.read(HttpSource(hub.serve("x", Answer(CONTENT * 4))))
        next(chunks)
        chunks.close()
        assert get(hub.serve("y", Answer(b"y"))) == b"y"

"""Bytes of HTTP servers and local files, or a short reason; low speed; Retry-After."""

import contextlib
import gc
import gzip
import os
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.descriptor.model import FileSource, HttpSource, Source
from omz_model_tools.descriptor.verify import WrongLength
from omz_model_tools.download.sources import (
    A_YEAR,
    LowSpeedLimit,
    Sources,
    Stalled,
    Unavailable,
    Version,
    hub_token,
    origin_of,
    rate_limit_reset,
    retry_after,
)
from support import HANGS_AFTER
from support.hub import Answer, Endless, Hub, busy

PATIENT = (HANGS_AFTER, HANGS_AFTER)
CONTENT = bytes(range(256)) * 5000


def get(
    source: Source | str, timeout: tuple[float, float] = PATIENT, start: int = 0, size: int | None = None
) -> tuple[int, bytes]:
    """Where the delivery starts, and its bytes."""
    place = HttpSource(source) if isinstance(source, str) else source
    with Sources("omz_downloader/test", timeout).open(place, start, size) as delivery:
        return delivery.start, b"".join(delivery.chunks)


def refusal(source: Source | str, timeout: tuple[float, float] = PATIENT) -> tuple[str, bool]:
    with pytest.raises(Unavailable) as caught:
        get(source, timeout)
    return str(caught.value), caught.value.temporary


def test_a_server_that_behaves(hub: Hub) -> None:
    assert get(hub.serve("x", Answer(CONTENT))) == (0, CONTENT)
    ((path, headers),) = hub.requests
    assert (path, headers["Accept-Encoding"]) == ("/x", "identity")
    assert headers["User-Agent"] == "omz_downloader/test"
    assert "Range" not in headers


def test_redirects_are_followed(hub: Hub) -> None:
    there = hub.serve("cdn/x", Answer(CONTENT))
    hub.serve("x", Answer(status=302, headers={"Location": there}))
    assert get(hub.url("x")) == (0, CONTENT)


def test_without_a_content_length_the_end_is_the_end(hub: Hub) -> None:
    assert get(hub.serve("x", Answer(CONTENT, length=False))) == (0, CONTENT)


def test_a_server_that_compresses_though_asked_not_to(hub: Hub) -> None:
    answer = Answer(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
    assert get(hub.serve("x", answer)) == (0, CONTENT)


@pytest.mark.parametrize(
    ("status", "reason", "temporary"),
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
def test_a_status_that_is_no_success(hub: Hub, status: int, reason: str, temporary: bool) -> None:
    assert refusal(hub.serve("x", Answer(b"no", status=status))) == (reason, temporary)


def test_redirects_without_end(hub: Hub) -> None:
    hub.serve("x", Answer(status=302, headers={"Location": hub.url("x")}))
    assert refusal(hub.url("x")) == ("more than 10 redirects", False)


def test_a_redirect_has_a_body_that_nobody_reads(hub: Hub) -> None:
    there = hub.serve("cdn/x", Answer(CONTENT))
    page = Answer(b"Found" * 100, 302, {"Location": there}, hold=3)
    assert get(hub.serve("x", page)) == (0, CONTENT)


@pytest.mark.parametrize("relative", ["/cdn/x", "cdn/x", "../x/../cdn/x"])
def test_a_login_goes_on_to_the_same_host(hub: Hub, relative: str) -> None:
    hub.serve("cdn/x", Answer(CONTENT))
    url = hub.serve("x", Answer(status=307, headers={"Location": relative}))
    assert get(url.replace("://", "://bob:secret@")) == (0, CONTENT)
    assert [headers.get("Authorization") for _, headers in hub.requests] == ["Basic Ym9iOnNlY3JldA=="] * 2


def test_a_login_goes_on_to_the_same_host_however_it_is_written(hub: Hub) -> None:
    hub.serve("cdn/x", Answer(CONTENT))
    there = hub.url("cdn/x").replace("http://", "HTTP://")
    url = hub.serve("x", Answer(status=307, headers={"Location": there}))
    assert get(url.replace("://", "://bob:secret@")) == (0, CONTENT)
    assert [headers.get("Authorization") for _, headers in hub.requests] == ["Basic Ym9iOnNlY3JldA=="] * 2


def test_origins() -> None:
    assert origin_of("https://Hub.example/a") == origin_of("HTTPS://bob:secret@hub.example:443/b")
    assert origin_of("http://a/") == origin_of("http://a:80")
    assert origin_of("http://a/") != origin_of("https://a/")
    assert origin_of("http://a/") != origin_of("http://a:81/")
    assert origin_of("http://a:99999/") is None


def test_a_login_goes_on_to_no_other_host(hub: Hub) -> None:
    with Hub() as other:
        there = other.serve("x", Answer(CONTENT))
        url = hub.serve("x", Answer(status=307, headers={"Location": there}))
        assert get(url.replace("://", "://bob:secret@")) == (0, CONTENT)
        ((_, headers),) = other.requests
    assert "Authorization" not in headers


def asked_with_token(hub: Hub, url: str, **environment: str) -> list[str | None]:
    """Return the Authorization of each request, where HF_TOKEN is set and the hub is the server."""
    login = hub_token({"HF_TOKEN": " hf_secret\n", "HF_ENDPOINT": hub.url("").rstrip("/"), **environment})
    with Sources("t", PATIENT, login=login).open(HttpSource(url), 0, None) as delivery:
        assert b"".join(delivery.chunks) == CONTENT
    return [headers.get("Authorization") for _, headers in hub.requests]


def test_the_hubs_token_goes_to_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login bob password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.serve("resolve/x", Answer(CONTENT))
    url = hub.serve("x", Answer(status=302, headers={"Location": "/resolve/x"}))
    assert asked_with_token(hub, url) == ["Bearer hf_secret"] * 2


def test_the_hubs_token_goes_nowhere_else(hub: Hub) -> None:
    with Hub() as other:
        there = other.serve("cdn/x", Answer(CONTENT))
        url = hub.serve("x", Answer(status=302, headers={"Location": there}))
        assert asked_with_token(hub, url) == ["Bearer hf_secret"]
        ((_, headers),) = other.requests
        assert "Authorization" not in headers
        assert asked_with_token(hub, there) == ["Bearer hf_secret"]  # nothing more was asked of the hub
        assert "Authorization" not in other.requests[-1][1]


def test_the_hubs_token_is_sent_over_https_only_but_to_this_machine() -> None:
    def has_login(endpoint: str, url: str, token: str = "x") -> bool:
        return hub_token({"HF_TOKEN": token, "HF_ENDPOINT": endpoint})(url) is not None

    assert has_login("", "https://huggingface.co/a/resolve/main/b")
    assert not has_login("", "http://huggingface.co/a")
    assert not has_login("", "https://huggingface.co.evil.example/a")
    assert not has_login("", "https://huggingface.co/a", token=" ")
    assert has_login("https://mirror.example", "https://mirror.example/a")
    assert not has_login("https://mirror.example", "https://huggingface.co/a")
    assert not has_login("http://mirror.example", "http://mirror.example/a")


def test_the_hubs_own_words_are_shown(hub: Hub) -> None:
    said = "Access to model a/b is restricted. You must be authenticated."
    answer = Answer(status=401, headers={"X-Error-Message": said + "!" * 400})
    reason, temporary = refusal(hub.serve("x", answer))
    assert reason.startswith("HTTP status 401 Unauthorized: Access to model a/b is restricted. You must")
    assert (len(reason) < 350, temporary) == (True, False)


@pytest.mark.parametrize("address", ["http://[::1", "http://[v1.fe]/%zz", "//[", "http://a b:99999/"])
def test_a_redirect_to_no_address(hub: Hub, address: str) -> None:
    reason, temporary = refusal(hub.serve("x", Answer(status=302, headers={"Location": address})))
    assert reason
    assert not temporary


def test_a_redirect_to_an_address_that_is_not_utf8(hub: Hub) -> None:
    reason, temporary = refusal(hub.serve("x", Answer(status=302, headers={"Location": "/\xff\xfe"})))
    assert reason.startswith("redirected to no address: 'utf-8' codec can't decode byte 0xff")
    assert not temporary


def test_a_redirect_to_a_local_file_is_not_followed(hub: Hub) -> None:
    hub.serve("x", Answer(status=302, headers={"Location": "file:///etc/passwd"}))
    reason, temporary = refusal(hub.url("x"))
    assert reason == "No connection adapters were found for 'file:///etc/passwd'"
    assert not temporary


@contextlib.contextmanager
def endless(beginning: bytes, piece: bytes) -> Iterator[str]:
    """Serve a beginning and then a piece every hundredth of a second until the client has left; yields the URL."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(beginning)
                while not ended.wait(0.01):
                    connection.sendall(piece)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    ],
    ids=["a line that drips", "continue, continue", "headers without end"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket is left to itself
def test_a_head_without_end_is_not_waited_for(beginning: bytes, piece: bytes) -> None:
    before = set(threading.enumerate())
    impatient = Sources("omz_downloader/test", PATIENT, answer_time=0.5)
    with endless(beginning, piece) as url, pytest.raises(Unavailable) as caught:
        impatient.open(HttpSource(url), 0, None).__enter__()
    reasons = ["no complete response in 0 seconds", "connection failed: got more than 100 headers"]
    assert str(caught.value) in reasons
    for left in set(threading.enumerate()) - before:
        left.join(HANGS_AFTER)
    gc.collect()


@pytest.mark.parametrize(
    "content", [b"machine 127.0.0.1 login caf\xe9 password x", "machine 127.0.0.1 login € password x"]
)
def test_a_netrc_that_cannot_be_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str
) -> None:
    (tmp_path / "netrc").write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    reason, temporary = refusal(hub.serve("x", Answer(CONTENT)))
    assert "codec can't" in reason
    assert not temporary


def test_a_length_of_thousands_of_digits_is_none(hub: Hub) -> None:
    answer = Answer(CONTENT, length=False, headers={"Content-Length": "9" * 5000})
    assert get(hub.serve("x", answer), size=len(CONTENT)) == (0, CONTENT)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 404 " + b"x" * 9000 + b"\r\n\r\n", b"no HTTP " * 1000 + b"\r\n\r\n"])
def test_words_of_a_server_are_cut(hub: Hub, raw: bytes) -> None:
    assert len(refusal(hub.serve("x", Answer(raw=raw)))[0]) < 350


def test_an_archive_that_is_called_an_encoding(hub: Hub) -> None:
    archive = gzip.compress(CONTENT)
    url = hub.serve("x", Answer(archive, headers={"Content-Encoding": "gzip"}))
    assert get(url, size=len(archive)) == (0, archive)


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_that_cannot_be_one(host: str) -> None:
    assert refusal(f"http://{host}/x") == (f"Failed to parse: '{host}', label empty or too long", False)


def test_a_connection_that_breaks_in_the_middle(hub: Hub) -> None:
    reason, temporary = refusal(hub.serve("x", Answer(CONTENT, cut=1000)))
    assert reason == "the connection broke: IncompleteRead(1000 bytes read, 1279000 more expected)"
    assert temporary


def test_a_connection_that_closes_without_a_word(hub: Hub) -> None:
    expected = ("connection failed: Remote end closed connection without response", True)
    assert refusal(hub.serve("x", Answer(silent=True))) == expected


def test_a_server_that_stalls(hub: Hub) -> None:
    expected = ("the transfer stalled: timed out", True)
    assert refusal(hub.serve("x", Answer(CONTENT, hold=10)), timeout=(5, 0.2)) == expected
    assert hub.holding.is_set()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        assert refusal(url) == ("connection failed: Connection refused", True)


def test_a_host_that_does_not_exist() -> None:
    reason, temporary = refusal("http://no-such-host.invalid/x")
    assert reason.startswith("the name of the host cannot be resolved: ")
    assert "\n" not in reason
    assert not temporary


def test_a_server_that_speaks_no_tls(hub: Hub) -> None:
    reason, temporary = refusal(hub.serve("x", Answer(CONTENT)).replace("http", "https"))
    assert reason.startswith("no secure connection: ")
    assert not temporary


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert refusal("http://example.invalid/x") == ("the proxy failed: Connection refused", True)


def test_a_proxy_is_asked_for_everything(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.url(""))
    monkeypatch.setenv("no_proxy", "")
    hub.requests.clear()
    assert refusal("http://example.invalid/x") == ("HTTP status 404 Not Found", False)
    assert hub.asked() == ["http://example.invalid/x"]
    monkeypatch.setenv("no_proxy", "example.invalid")
    assert refusal("http://example.invalid/x")[0].startswith("the name of the host cannot be resolved: ")


def test_a_certificate_authority_of_ones_own(monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(Unavailable, match=r"nowhere\.pem"):
        get(hub.url("x").replace("http", "https"))


def test_a_file_beside_the_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert get(FileSource(tmp_path / "x")) == (0, CONTENT)
    assert get(FileSource(tmp_path / "x"), start=10, size=len(CONTENT)) == (10, CONTENT[10:])
    assert refusal(FileSource(tmp_path / "y")) == ("No such file or directory", False)
    assert refusal(FileSource(tmp_path)) == ("Is a directory", False)
    os.mkfifo(tmp_path / "pipe")
    assert refusal(FileSource(tmp_path / "pipe")) == ("is a pipe or a device", False)
    with pytest.raises(WrongLength, match="expected a file of 1 B, got one of 1280000 B"):
        get(FileSource(tmp_path / "x"), size=1)


def test_what_goes_wrong_with_the_bytes_is_not_the_sources_fault(tmp_path: Path) -> None:
    """An OSError of who takes the bytes, a full disk say, passes through unchanged."""
    (tmp_path / "x").write_bytes(CONTENT)
    with pytest.raises(OSError, match="No space"), Sources("t").open(FileSource(tmp_path / "x"), 0, None):
        raise OSError(28, os.strerror(28))


def test_the_rest_of_a_file(hub: Hub) -> None:
    url = hub.publish("x", Answer(CONTENT))
    assert get(url, start=1000, size=len(CONTENT)) == (1000, CONTENT[1000:])
    assert get(url, start=1000, size=None) == (1000, CONTENT[1000:])
    assert hub.ranges("x") == hub.ranges("cdn/x") == ["bytes=1000-"] * 2


ANEW = {
    "ignores Range": (Answer(CONTENT, ranges=False), 1),
    "no Content-Range": (Answer(CONTENT, content_range=""), 2),
    "another start": (Answer(CONTENT, content_range="bytes 0-{last}/{total}"), 2),
    "another total": (Answer(CONTENT, content_range="bytes {first}-{last}/7"), 2),
    "no range at all": (Answer(CONTENT, content_range="bytes */{total}"), 2),
    "compressed": (Answer(CONTENT, gzip=True), 2),
    "416": (Answer(CONTENT[:1000]), 2),
}


@pytest.mark.parametrize("error", ANEW)
def test_a_server_that_cannot_give_the_rest_gives_all(hub: Hub, error: str) -> None:
    answer, requests = ANEW[error]
    assert get(hub.serve("x", answer, Answer(CONTENT)), start=1000, size=len(CONTENT))[1][-1000:] == CONTENT[-1000:]
    assert hub.ranges("x") == ["bytes=1000-", None][:requests]
    assert get(hub.serve("x", answer, Answer(CONTENT)), start=1000, size=len(CONTENT)) == (0, CONTENT)


def test_an_unknown_total_may_be_the_right_one(hub: Hub) -> None:
    url = hub.serve("x", Answer(CONTENT, content_range="bytes {first}-{last}/*"))
    assert get(url, start=1000, size=len(CONTENT)) == (1000, CONTENT[1000:])


def test_an_error_is_not_asked_about_twice(hub: Hub) -> None:
    with pytest.raises(Unavailable, match="503"):
        get(hub.serve("x", Answer(status=503)), start=1000)
    assert len(hub.requests) == 1


def test_a_length_that_cannot_be_is_refused_before_the_body(hub: Hub) -> None:
    with pytest.raises(WrongLength, match="expected a file of 7 B, got one of 1280000 B"):
        get(hub.serve("x", Answer(CONTENT, hold=0)), size=7)


def test_the_length_of_a_compressed_body_says_nothing(hub: Hub) -> None:
    assert get(hub.serve("x", Answer(CONTENT, gzip=True)), size=len(CONTENT)) == (0, CONTENT)


def test_compressed_garbage(hub: Hub) -> None:
    reason, temporary = refusal(hub.serve("x", Answer(CONTENT, headers={"Content-Encoding": "gzip"})))
    assert reason.startswith("the body cannot be decoded: it is not gzip: ")
    assert temporary


def test_empty_members_of_gzip_without_end(hub: Hub) -> None:
    url = hub.serve("x", Answer(Endless(gzip.compress(b"")), chunked=True, headers={"Content-Encoding": "gzip"}))
    sources = Sources("t", PATIENT, lambda: LowSpeedLimit(window=0.2))
    stalled = pytest.raises(Unavailable, match="the transfer stalled: 0 bytes in")
    with sources.open(HttpSource(url), 0, None) as delivery, stalled:
        list(delivery.chunks)


@pytest.mark.parametrize("start", [0, 10])
def test_what_a_source_says_of_its_file(hub: Hub, tmp_path: Path, start: int) -> None:
    def version(source: Source) -> Version:
        with Sources("t", PATIENT).open(source, start, None) as delivery:
            assert not delivery.ends_before
            return delivery.version

    etag = {"ETag": '"7"'}
    assert version(HttpSource(hub.serve("x", Answer(CONTENT, headers=etag)))) == Version(len(CONTENT), '"7"')
    assert version(HttpSource(hub.serve("x", Answer(CONTENT, ranges=False)))) == Version(len(CONTENT))
    unknown = "bytes {first}-{last}/*"
    chunked = Answer(CONTENT, chunked=True, headers=etag, content_range=unknown)
    assert version(HttpSource(hub.serve("x", chunked))) == Version(None, '"7"')
    assert version(HttpSource(hub.serve("x", Answer(CONTENT, gzip=True)))) == Version()
    (tmp_path / "x").write_bytes(CONTENT)
    assert version(FileSource(tmp_path / "x")) == Version(len(CONTENT))


def test_a_source_whose_file_ends_before_the_start_begins_anew_and_says_so(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT[:5])
    for source in (HttpSource(hub.serve("x", Answer(CONTENT[:5]))), FileSource(tmp_path / "x")):
        with Sources("t", PATIENT).open(source, 9, None) as delivery:
            assert (delivery.start, delivery.ends_before) == (0, True)
            assert b"".join(delivery.chunks) == CONTENT[:5]


def test_bytes_are_given_as_they_arrive(hub: Hub) -> None:
    source = HttpSource(hub.serve("x", Answer(CONTENT, hold=10)))
    with Sources("t", (5, 20)).open(source, 0, None) as delivery:
        assert next(delivery.chunks) == CONTENT[:10]


def test_a_server_that_drips(hub: Hub) -> None:
    times = iter(range(0, 1000, 7))
    sources = Sources("t", PATIENT, lambda: LowSpeedLimit(60, 1024, lambda: next(times)))
    url = hub.serve("x", Answer(CONTENT, drip=(10, 0.01)))
    with (
        pytest.raises(Unavailable, match=r"^the transfer stalled: \d+ bytes in 63 seconds$"),
        sources.open(HttpSource(url), 0, None) as delivery,
    ):
        for _ in delivery.chunks:
            pass


def test_a_wait_can_be_ended_from_another_thread(hub: Hub) -> None:
    source = HttpSource(hub.serve("x", Answer(CONTENT, hold=10)))
    with Sources("t", (60, 60)).open(source, 0, None) as delivery:
        assert next(delivery.chunks) == CONTENT[:10]
        assert hub.holding.wait(HANGS_AFTER)
        waker = threading.Timer(0.1, delivery.wake)
        waker.start()
        with pytest.raises(Unavailable, match="the connection broke"):
            next(delivery.chunks)
        waker.join()
    delivery.wake()  # too late, and no harm


def test_how_long_a_server_asks_to_be_left_alone(hub: Hub) -> None:
    def wait(answer: Answer) -> tuple[float, bool]:
        with pytest.raises(Unavailable) as caught:
            get(hub.serve("x", answer))
        return caught.value.wait, caught.value.temporary

    assert wait(Answer(status=503, headers={"Retry-After": "120"})) == (120, True)
    assert wait(Answer(status=503, headers={"Retry-After": "121"})) == (0, False)
    assert wait(Answer(status=404, headers={"Retry-After": "3"})) == (3, False)
    assert wait(busy(7, 503, skew=86400)) == (7, True)
    limit = {"RateLimit": '"resolve";r=0;t=86'}
    assert wait(Answer(status=429, headers=limit)) == (86, True)
    assert wait(Answer(status=429, headers={**limit, "Retry-After": "90"})) == (90, True)
    assert wait(Answer(status=503, headers=limit)) == (0, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"resolve";r=0;t=86', 86),
        ('"api";r=3; t=5, "pages";r=0;t=7', 5),
        ("limit=1, remaining=0", 0),
        ('"x";t=abc', 0),
        ('"x";t=' + "9" * 30, 0),
        ("", 0),
    ],
)
def test_when_a_quota_is_reset(value: str, seconds: float) -> None:
    assert rate_limit_reset(value) == seconds


def test_a_date_counts_from_our_clock_if_the_server_has_none(hub: Hub) -> None:
    sources = Sources("t", PATIENT, now=lambda: datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc))
    raw = b"HTTP/1.1 503 Busy\r\nRetry-After: Sat, 21 Nov 2026 12:00:09 GMT\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(Unavailable) as caught, sources.open(HttpSource(hub.serve("x", Answer(raw=raw))), 0, None):
        pass
    assert caught.value.wait == 9


def test_a_reader_that_leaves_early_closes_the_connection(hub: Hub) -> None:
    with Sources("t", PATIENT).open(HttpSource(hub.serve("x", Answer(CONTENT, hold=10))), 0, None) as delivery:
        next(delivery.chunks)
    assert get(hub.serve("y", Answer(b"y"))) == (0, b"y")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_drip_is_noticed_when_the_window_is_over() -> None:
    clock = Clock()
    limit = LowSpeedLimit(60, 1024, clock)
    for _ in range(59):
        clock.now += 1
        limit.add(1000)
    clock.now += 1
    with pytest.raises(Stalled, match=r"^the transfer stalled: 60000 bytes in 60 seconds$"):
        limit.add(1000)


def test_enough_is_enough_and_each_window_stands_alone() -> None:
    clock = Clock()
    limit = LowSpeedLimit(60, 1024, clock)
    clock.now += 60
    limit.add(60 * 1024)
    clock.now += 59
    limit.add(0)
    clock.now += 1
    with pytest.raises(Stalled, match=r"0 bytes in 60 seconds"):
        limit.add(0)


NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
NOON, LATER = "Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 12:00:20 GMT"
A_DAY_AHEAD = "Sun, 22 Nov 2026 12:00:05 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", None, 0),
        (" 17 ", NOON, 17),
        (LATER, None, 20),
        (LATER, "Sat, 21 Nov 2026 12:00:15 GMT", 5),
        ("Sun, 22 Nov 2026 12:00:12 GMT", A_DAY_AHEAD, 7),
        (LATER, "yesterday", 20),
        (NOON, LATER, 0),
        ("", None, 0),
        ("soon", None, 0),
        ("-5", None, 0),
        ("1.5", None, 0),
        ("Sat, 21 Nov 2026 12:00:20 -0000", None, 0),
        ("9" * 400, None, A_YEAR),
        ("Wed, 21 Oct 9999 07:28:00 GMT", None, A_YEAR),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None, 0),
        ("Sat, 21 Nov 2026 12:00:20 +99999999999999999", None, 0),
    ],
)
def test_values(value: str, date: str | None, seconds: float) -> None:
    assert retry_after(value, date, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [+-]?\w+"), st.text())
def test_anything_is_a_number_of_seconds(value: str, date: str) -> None:
    assert retry_after(value, date, NOW) >= 0

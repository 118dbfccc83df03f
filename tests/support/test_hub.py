"""hub: the server that judges the downloader, judged by http.client and by bare sockets."""

import gzip
import hashlib
import http.client
import socket
import threading
import time
from email.utils import parsedate_to_datetime

import pytest

from support import HANGS_AFTER, until
from support.hub import Answer, Hub, Noise, busy

BODY = bytes(range(256)) * 4


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own; it follows nothing."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=HANGS_AFTER)
    try:
        connection.request(method, f"/{path}", headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def raw(url: str) -> bytes:
    """All that comes back, until the server closes."""
    host, _, path = url.removeprefix("http://").partition("/")
    with socket.create_connection((host.partition(":")[0], int(host.partition(":")[2])), timeout=HANGS_AFTER) as client:
        client.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_whole_and_a_rest(hub: Hub) -> None:
    url = hub.serve("x", Answer(BODY))
    status, headers, body = ask(url)
    assert (status, body, headers["Content-Length"], headers["Accept-Ranges"]) == (200, BODY, "1024", "bytes")
    status, headers, body = ask(url, Range="bytes=1000-")
    assert (status, body) == (206, BODY[1000:])
    assert (headers["Content-Range"], headers["Content-Length"]) == ("bytes 1000-1023/1024", "24")
    assert hub.ranges("x") == [None, "bytes=1000-"]


def test_nothing_behind_the_end(hub: Hub) -> None:
    url = hub.serve("x", Answer(BODY))
    status, headers, body = ask(url, Range="bytes=1024-")
    assert (status, headers["Content-Range"], body) == (416, "bytes */1024", b"")


def test_head(hub: Hub) -> None:
    status, headers, body = ask(hub.serve("x", Answer(BODY)), "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1024", b"")


def test_a_hub_sends_on_to_a_signed_address(hub: Hub) -> None:
    status, headers, _ = ask(hub.publish("x", Answer(status=503), Answer(BODY)), Range="bytes=8-")
    assert status == 302
    assert (headers["X-Linked-Size"], headers["Accept-Ranges"]) == ("1024", "bytes")
    assert headers["X-Linked-ETag"] == f'"{hashlib.sha256(BODY).hexdigest()}"'
    assert len(headers["X-Repo-Commit"]) == 40
    there = headers["Location"]
    assert ask(there)[0] == 503
    assert ask(there, Range="bytes=8-")[::2] == (206, BODY[8:])
    assert ask(there.partition("?")[0])[0] == 403
    assert ask(there.replace("Signature=", "Signature=x"))[0] == 403
    assert hub.ranges("cdn/x")[:2] == [None, "bytes=8-"]


def test_ranges_answered_wrongly(hub: Hub) -> None:
    asked = {"Range": "bytes=10-"}
    assert ask(hub.serve("x", Answer(BODY, ranges=False)), **asked)[::2] == (200, BODY)
    status, headers, body = ask(hub.serve("x", Answer(BODY, shift=5)), **asked)
    assert (status, headers["Content-Range"], body) == (206, "bytes 15-1023/1024", BODY[15:])
    _, headers, body = ask(hub.serve("x", Answer(BODY, content_range="bytes {first}-{last}/7")), **asked)
    assert (headers["Content-Range"], body) == ("bytes 10-1023/7", BODY[10:])
    assert "Content-Range" not in ask(hub.serve("x", Answer(BODY, content_range="")), **asked)[1]


def test_a_changed_byte_is_one_of_the_file(hub: Hub) -> None:
    url = hub.serve("x", Answer(BODY, flip=100))
    garbled = BODY[:100] + b"\x65" + BODY[101:]
    assert ask(url)[2] == garbled
    assert ask(url, Range="bytes=90-")[2] == garbled[90:]
    assert ask(url, Range="bytes=101-")[2] == BODY[101:]


def test_compressed_chunked_and_without_a_length(hub: Hub) -> None:
    _, headers, body = ask(hub.serve("x", Answer(BODY, gzip=True)))
    assert (headers["Content-Encoding"], gzip.decompress(body)) == ("gzip", BODY)
    _, headers, body = ask(hub.serve("x", Answer(BODY, chunked=True, drip=(100, 0))))
    assert (headers["Transfer-Encoding"], body) == ("chunked", BODY)
    _, headers, body = ask(hub.serve("x", Answer(BODY, length=False)))
    assert ("Content-Length" in headers, body) == (False, BODY)


def test_a_body_that_ends_early(hub: Hub) -> None:
    for answer in (Answer(BODY, cut=9), Answer(BODY, cut=9, chunked=True), Answer(BODY[:9], declared=10)):
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(hub.serve("x", answer))
        assert caught.value.partial == BODY[:9]
    assert ask(hub.serve("x", Answer(BODY, declared=9)))[2] == BODY[:9]
    assert raw(hub.serve("x", Answer(silent=True))) == b""
    assert raw(hub.serve("x", Answer(raw=b"SSH-2.0-OpenSSH\r\n"))) == b"SSH-2.0-OpenSSH\r\n"
    with pytest.raises(ConnectionResetError):
        raw(hub.serve("x", Answer(BODY, cut=9, reset=True)))


def test_an_answer_held_back(hub: Hub) -> None:
    url, got = hub.serve("x", Answer(BODY, hold=10)), list[bytes]()
    reader = threading.Thread(target=lambda: got.append(ask(url)[2]))
    reader.start()
    assert hub.holding.wait(HANGS_AFTER)
    assert (hub.held, got) == (1, [])
    hub.release()
    reader.join(HANGS_AFTER)
    assert got == [BODY]


def test_a_held_answer_ends_with_its_client(hub: Hub) -> None:
    host, port = hub.serve("x", Answer(BODY, hold=10)).split("/")[2].split(":")
    before = threading.active_count()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert hub.holding.wait(HANGS_AFTER)
    until(lambda: threading.active_count() <= before)


def test_two_requests_on_one_connection(hub: Hub) -> None:
    hub.serve("x", Answer(BODY, keep_alive=True))
    connection = http.client.HTTPConnection(*hub.url("").split("/")[2].split(":"), timeout=HANGS_AFTER)
    connection.request("GET", "/x")
    assert connection.getresponse().read() == BODY
    socket_before = connection.sock
    connection.request("GET", "/x")
    assert connection.getresponse().read() == BODY
    assert connection.sock is socket_before
    connection.close()


def test_patience_is_asked_for_by_the_servers_own_clock(hub: Hub) -> None:
    status, headers, _ = ask(hub.serve("x", busy(90, skew=-86400)))
    until, now = parsedate_to_datetime(headers["Retry-After"]), parsedate_to_datetime(headers["Date"])
    assert status == 429
    assert 89 <= (until - now).total_seconds() <= 91  # whole seconds, each cut on its own
    assert abs(now.timestamp() + 86400 - time.time()) < 3600


def test_noise_is_the_same_wherever_it_is_cut() -> None:
    whole = Noise(200_000)[:]
    assert len(whole) == len(set(whole)) + 200_000 - 256 == 200_000
    assert Noise(200_000)[65_530:131_080] == whole[65_530:131_080]
    assert Noise(200_000)[199_990:300_000] == whole[199_990:]
    assert Noise(200_000)[5:5] == b""
    assert Noise(10, seed=1)[:] != Noise(10)[:]
    assert len(Noise(1 << 40)) == 1 << 40

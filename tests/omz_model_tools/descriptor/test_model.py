"""The values of a descriptor check themselves when they are made."""

from pathlib import PurePosixPath

import pytest

from omz_model_tools.descriptor.model import Checksum, HttpSource, relative_name


@pytest.mark.parametrize(
    "name", ["a", "gpt2/model.safetensors", "..a/..b", "a b", "ä/日本", ".hidden", "COM", "console", "COM10.a"]
)
def test_names_inside_a_folder(name: str) -> None:
    assert relative_name(name) == PurePosixPath(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "/etc/passwd", "../a", "a/../b", "a/..", "a//b", "a/", "./a", "a/./b",
     "a\\b", "..\\a", "C:", "C:a", "c:/a", "a\0b", "a\nb", "a\x7f", "a\u2028b"],
)  # fmt: skip
def test_names_that_leave_it_somewhere(name: str) -> None:
    with pytest.raises(ValueError, match=r"\Aa (name|relative path) with"):
        relative_name(name)


@pytest.mark.parametrize(
    "name",
    ["a/C:evil.txt", "CON", "con.txt", "a/Nul/b", "aux .tar.gz", "COM1", "lpt¹.x", "CONIN$", "a.", "a /b", "a. ",
     "a*", "who?", '"', "<", "a|b"],
)  # fmt: skip
def test_names_that_mean_something_else_on_windows(name: str) -> None:
    with pytest.raises(ValueError, match="names that Windows has too"):
        relative_name(name)


def test_a_checksum_has_the_digits_of_its_algorithm() -> None:
    assert Checksum("sha256", "0" * 64).digest == "0" * 64
    for algorithm, digest in [("sha256", "0" * 96), ("sha384", "0" * 64), ("sha256", "g" * 64), ("sha384", "")]:
        with pytest.raises(ValueError, match=f"hexadecimal digits .{algorithm}."):
            Checksum(algorithm, digest)


@pytest.mark.parametrize("url", ["http://a", "https://a.b:8/c?d=e#f", "HTTPS://A/b", "http://[::1]/x"])
def test_urls(url: str) -> None:
    assert str(HttpSource(url)) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://bob:s:e%40c@example.org:8/x@y", "https://bob:***@example.org:8/x@y"),
        ("https://bob@example.org/a:b@c", "https://bob@example.org/a:b@c"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert str(HttpSource(url)) == shown
    assert HttpSource(url).url == url


@pytest.mark.parametrize(
    "url",
    ["", "a", "ftp://a/b", "file:///etc/passwd", "http://", "http:///b", "http:a", "//a/b", "http://a b/c",
     "http://a/\n", "http://a:x/", "http://a:99999/", "http://[::1", "http://ä/", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="an http or https URL"):
        HttpSource(url)

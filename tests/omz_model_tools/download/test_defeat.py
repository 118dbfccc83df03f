"""defeat: the last words about a file, to the letter."""

from pathlib import Path

from omz_model_tools.descriptor.model import FileSource, HttpSource
from omz_model_tools.download.defeat import Defeat, defeated


def test_the_words() -> None:
    defeats = [
        Defeat(FileSource(Path("/m/x")), "No such file or directory", 1),
        Defeat(HttpSource("https://a/x?b=c&d"), "HTTP status 503", 5),
        Defeat(HttpSource("https://b/x"), "not asked (--offline)", 0),
    ]
    assert defeated(Path("/my models/it's"), Path("/cache/ab/cd"), defeats, "kept: 1 of 2 bytes") == [
        "/my models/it's: could not be downloaded",
        "/cache/ab/cd: not in the cache",
        "/m/x: No such file or directory (1 try)",
        "https://a/x?b=c&d: HTTP status 503 (5 tries)",
        "https://b/x: not asked (--offline)",
        "kept: 1 of 2 bytes",
        "by hand: curl --location --create-dirs --output '/my models/it'\"'\"'s' 'https://a/x?b=c&d'",
    ]


def test_without_a_url_there_is_nothing_to_do_by_hand() -> None:
    assert defeated(Path("x"), None, [Defeat(FileSource(Path("y")), "no", 1)], None) == [
        "x: could not be downloaded",
        "y: no (1 try)",
    ]

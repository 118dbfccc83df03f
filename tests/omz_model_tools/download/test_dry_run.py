"""--dry_run: its report, compared to the letter; nothing is fetched or written."""

import hashlib
import io
from pathlib import Path
from typing import Any

from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.model import Checksum
from omz_model_tools.download.cache import Cache
from omz_model_tools.download.dry_run import DryRun
from support.model_tree import descriptor, file_entry, load_models, write_model

HEADING = "################|| (DRY RUN) Downloading toy ||################\n\n"
TRUE = b"The poem was written by"
HUB, OTHER = "https://huggingface.co/gpt2/x", "https://storage.example/x"
CHECKSUM = Checksum("sha256", hashlib.sha256(TRUE).hexdigest())


def dry_run(tmp_path: Path, *entries: dict[str, Any], **settings: Any) -> tuple[list[str], str, str]:
    write_model(tmp_path / "models", "toy", descriptor(*entries))
    out, err = io.StringIO(), io.StringIO()
    failed = DryRun(tmp_path / "out", Report(out, err), **settings).run(load_models([tmp_path / "models"]))
    return failed, out.getvalue(), err.getvalue()


def test_nothing_is_there(tmp_path: Path) -> None:
    place = tmp_path / "out/public/toy/x"
    assert dry_run(tmp_path, file_entry("x", TRUE, [HUB, OTHER])) == (
        [],
        f"{HEADING}========== (DRY RUN) Downloading {place}\n23 bytes\nfrom {HUB}\nor {OTHER}\n\n"
        "toy: 23 bytes to fetch\n\nTotal: 23 bytes to fetch\n",
        "",
    )
    assert not (tmp_path / "out").exists()


def test_one_is_there_and_a_part_of_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "out/public/toy"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"abc")
    part = folder / f".{CHECKSUM.digest[:32]}.part"
    part.write_bytes(TRUE[:3])
    failed, out, err = dry_run(tmp_path, file_entry("a", b"abc", HUB), file_entry("x", TRUE, OTHER))
    assert (failed, err) == ([], "")
    assert out == (
        f"{HEADING}========== Retained {folder}/a (already there, checksum matches)\n\n"
        f"========== (DRY RUN) Downloading {folder}/x\n23 bytes, 3 of them already there\nfrom {OTHER}\n\n"
        "toy: 20 bytes to fetch\n\nTotal: 20 bytes to fetch\n"
    )
    assert part.read_bytes() == TRUE[:3]


def test_a_mirror_a_cache_and_no_network(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = cache.entry(CHECKSUM)
    entry.parent.mkdir(parents=True)
    entry.write_bytes(TRUE)
    file = file_entry("x", TRUE, [OTHER, HUB], size=None)
    out = dry_run(tmp_path, file, mirror="http://mirror", cache=cache, offline=True)[1]
    assert out.splitlines()[3:-1] == [
        "of unknown size",
        f"from {entry}",
        "or http://mirror/gpt2/x (not used: --offline)",
        f"or {OTHER} (not used: --offline)",
        "",
        "toy: 0 bytes to fetch, 23 bytes from the cache",
        "",
    ]


def test_a_size_that_is_not_known_is_not_nought(tmp_path: Path) -> None:
    files = [file_entry(name, TRUE, OTHER, size=size) for name, size in (("x", None), ("y", 23), ("z", None))]
    out = dry_run(tmp_path, *files)[1]
    assert out.endswith(
        "toy: 23 bytes and 2 files of unknown size to fetch\n\nTotal: 23 bytes and 2 files of unknown size to fetch\n"
    )


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    place = tmp_path / "out/public/toy/x"
    place.mkdir(parents=True)
    failed, out, err = dry_run(tmp_path, file_entry("x", TRUE, HUB))
    assert failed == ["toy"]
    assert out == f"{HEADING}\nTotal: 0 bytes to fetch\n"
    assert err == f"########## Error: {place}: expected a file or nothing, got a folder; move it away\n"

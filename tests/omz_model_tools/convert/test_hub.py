"""hub: a repository of a local server that behaves like the hub, fetched, verified and converted by the command."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.convert.hub import Repository
from support.command import run_process
from support.hub import Answer, Hub
from support.toy import Toy

COMMIT = "0123456789" * 4
LARGE = (".safetensors", ".bin")


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repositories:
    """Serves org/name: its description, the tree of a commit, and its files, the large ones from a CDN."""

    def __init__(self, hub: Hub, files: Mapping[str, bytes]) -> None:
        self.hub, self.files = hub, dict(files)
        described = [self._described(name, content) for name, content in files.items()]
        siblings = [{"rfilename": each["path"], "size": each["size"], "blobId": each["oid"]} for each in described]
        for sibling, each in zip(siblings, described, strict=True):
            if "lfs" in each:
                sibling["lfs"] = {"sha256": each["lfs"]["oid"], "size": each["size"], "pointerSize": 130}
        self.info = Answer(json.dumps({"id": "org/name", "sha": COMMIT, "siblings": siblings}).encode())
        for path in ("", "/revision/main", f"/revision/{COMMIT}"):
            hub.serve(f"api/models/org/name{path}", self.info)
        hub.serve(f"api/models/org/name/tree/{COMMIT}", Answer(json.dumps(described).encode()))
        for name, content in files.items():
            self.serve(name, content)

    def serve(self, name: str, content: bytes) -> None:
        """Serve bytes as a file, under the checksums that the repository has of it."""
        true = self.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git_blob(true)}"'}
        if name.endswith(LARGE):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(true).hexdigest()}"', "X-Linked-Size": str(len(true))}
        for revision in (COMMIT, "main"):
            self.hub.serve(f"org/name/resolve/{revision}/{name}", Answer(content, headers=headers))

    def _described(self, name: str, content: bytes) -> dict[str, Any]:
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {
            "type": "file",
            "path": name,
            "size": len(content),
            "oid": git_blob(content),
            **({"lfs": large} if name.endswith(LARGE) else {}),
        }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = Toy().write(tmp_path / "checkpoint")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def convert(hub: Hub, tmp_path: Path) -> Any:
    """Return a function that runs omz_converter --hub against the server, with a cache of its own."""

    def run(repository: str, *arguments: object, **variables: str) -> tuple[int, str, list[str]]:
        environment = {
            "HF_ENDPOINT": hub.url("").rstrip("/"),
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "default",
            **variables,
        }
        command = ("--hub", repository, "-o", tmp_path / "out", "--precisions", "FP16", *arguments)
        done = run_process("omz_converter", *command, env=environment)
        return done.returncode, done.stdout.decode(), done.stderr.decode().splitlines()

    return run


@pytest.mark.extras("huggingface_hub")
def test_a_repository_is_fetched_verified_and_converted_once(hub: Hub, tmp_path: Path, files, convert) -> None:
    Repositories(hub, {**files, "README.md": b"# name", "pytorch_model.bin": b"not this one"})
    code, printed, said = convert("org/name", HF_TOKEN="hf_x")
    assert code == 0, said
    names = "config.json, merges.txt, model.safetensors, vocab.json"
    assert printed.startswith(
        "========== Fetching org/name from the hub\n"
        f"Commit {COMMIT}, checksums verified: {names}\n\n"
        "========== Converting name to IR (FP16)\n"
    )
    assert (code, (tmp_path / "out/FP16/name.xml").exists()) == (0, True)
    tokens = {
        headers.get("Authorization", headers.get("authorization")) for path, headers in hub.requests if "org" in path
    }
    assert tokens == {"Bearer hf_x"}
    asked = len(hub.requests)
    assert convert("org/name", HF_HUB_OFFLINE="1")[0] == 0
    assert len(hub.requests) == asked
    assert not any("pytorch_model" in path or "README" in path for path in hub.asked())


@pytest.mark.extras("huggingface_hub")
def test_a_file_that_is_not_the_hubs_is_refused(hub: Hub, files, convert, tmp_path: Path) -> None:
    repository = Repositories(hub, files)
    repository.serve("config.json", files["config.json"].replace(b"300", b"301"))
    code, _, said = convert("org/name")
    assert code == 1
    assert f"is not the hub's file: expected the checksum {git_blob(files['config.json'])}, got " in said[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.extras("huggingface_hub")
@pytest.mark.parametrize(
    ("status", "headers", "line"),
    [
        (
            404,
            {"X-Error-Code": "RepoNotFound"},
            "org/name: there is no such repository, or it is private: set HF_TOKEN",
        ),
        (404, {"X-Error-Code": "RevisionNotFound"}, "org/name: the repository has no such revision"),
        (403, {"X-Error-Code": "GatedRepo"}, "org/name: is gated: accept its conditions at {}, and set HF_TOKEN"),
    ],
)
def test_a_repository_that_cannot_be_had_is_one_line(hub: Hub, convert, status: int, headers: Any, line: str) -> None:
    hub.serve("api/models/org/name", Answer(status=status, headers=headers))
    code, _, said = convert("org/name")
    assert code == 1
    assert said[-1].endswith(line.format(hub.url("org/name")))


@pytest.mark.extras("huggingface_hub")
def test_without_a_network_or_a_cache_it_is_one_line(convert) -> None:
    code, _, said = convert("org/name", HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 1
    assert "org/name: http://127.0.0.1:9 cannot be reached: " in said[-1]
    code, _, said = convert("org/name", HF_HUB_OFFLINE="1")
    assert code == 1
    assert said[-1].endswith("org/name: is not in the cache; run once without HF_HUB_OFFLINE")


@pytest.mark.parametrize("text", ["name", "a/b/c", "a/b@", "/b", "a/ b", ""])
def test_a_name_that_is_none(text: str) -> None:
    with pytest.raises(Problem) as caught:
        Repository.parse(text)
    assert str(caught.value) == f"--hub: expected ORG/NAME or ORG/NAME@REVISION, got {text!r}"


def test_a_name_with_a_revision() -> None:
    assert Repository.parse("a/b.c-d@refs/pr/1") == Repository("a/b.c-d", "refs/pr/1")
    assert Repository.parse("a/b").short_name == "b"


def test_the_checkpoint_flags_exclude_each_other(run: Any) -> None:
    done = run("omz_converter", "--hub", "a/b", "--checkpoint", "x", "-o", "y")
    assert done.stderr.decode().endswith("error: --checkpoint cannot be used with --hub\n")
    assert run("omz_converter", "--hub", "a/b").stderr.decode().endswith("error: --hub needs -o/--output_dir\n")

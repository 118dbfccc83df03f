"""omz_converter --hub: fetch a repository of the Hugging Face hub into huggingface_hub's cache, and verify it.

huggingface_hub's own variables count: HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from omz_model_tools.common.problem import Problem, disk_problems, one_line

CHUNK = 1 << 20
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
Choose = Callable[[Collection[str]], Sequence[str]]
"""Names in a repository -> those that a recipe reads; raises the recipe's Problem where weights are missing."""


@dataclass(frozen=True)
class Repository:
    """ORG/NAME at a revision: a branch, a tag or a commit; None is the main branch."""

    name: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Read ORG/NAME[@REVISION]; raise Problem for anything else."""
        name, at, revision = text.partition("@")
        if not REPOSITORY.fullmatch(name) or (at and not revision):
            raise Problem(f"--hub: expected ORG/NAME or ORG/NAME@REVISION, got {text!r}")
        return cls(name, revision or None)

    @property
    def short_name(self) -> str:
        return self.name.rpartition("/")[2]

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Fetched:
    """The folder of a repository's files in the cache, the commit they are of, and their names; all are verified."""

    folder: Path
    commit: str
    names: list[str]


def fetch(repository: Repository, choose: Choose) -> Fetched:
    """Fetch the files that `choose` picks, as far as they are not in the cache, and verify each against the hub.

    A file of Git LFS is verified by its SHA-256, another one by git's SHA-1 of its blob.
    Raises Problem for a repository that cannot be had, and for a file that is not the hub's.
    """
    library = _library()
    with _problems(repository, library):
        if library.constants.HF_HUB_OFFLINE:
            # Only the folder is asked for: all files of the repository, of which it has some, would be missing ones.
            options: dict[str, Any] = {"local_files_only": True, "allow_patterns": ["-"]}
        else:
            info = library.HfApi().model_info(repository.name, revision=repository.revision)
            options = {"allow_patterns": list(choose([file.rfilename for file in info.siblings or []]))}
        folder = Path(library.snapshot_download(repository.name, revision=repository.revision, **options))
    present = sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())
    names = sorted(choose(present))
    checksums = {} if library.constants.HF_HUB_OFFLINE else _checksums(repository, folder.name, library)
    for name in names:
        _verify(folder / name, checksums.get(name))
    return Fetched(folder, folder.name, names)


def _library() -> ModuleType:
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
    except ImportError:
        raise Problem("huggingface_hub: is not installed; run: pip install 'omz-gpt2[hub]'") from None
    from huggingface_hub import constants, errors, utils  # noqa: F401, PLC0415 - so that they are its attributes

    if not sys.stderr.isatty():
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    return huggingface_hub


@contextmanager
def _problems(repository: Repository, library: Any) -> Iterator[None]:
    """Turn what the library raises into one line with the way on."""
    errors = library.errors
    with disk_problems(Path(library.constants.HF_HUB_CACHE)):
        try:
            yield
        except errors.GatedRepoError:
            page = f"{library.constants.ENDPOINT}/{repository.name}"
            raise Problem(f"{repository}: is gated: accept its conditions at {page}, and set HF_TOKEN") from None
        except errors.RevisionNotFoundError:
            raise Problem(f"{repository}: the repository has no such revision") from None
        except errors.RepositoryNotFoundError:
            raise Problem(f"{repository}: there is no such repository, or it is private: set HF_TOKEN") from None
        except errors.LocalEntryNotFoundError:
            raise Problem(f"{repository}: is not in the cache; run once without HF_HUB_OFFLINE") from None
        except errors.HfHubHTTPError as error:
            raise Problem(f"{repository}: {one_line(getattr(error, 'server_message', None) or error)}") from None
        except errors.HTTPError as error:  # of the HTTP library below, which has changed between releases
            reason = one_line(error) or type(error).__name__
            raise Problem(f"{repository}: {library.constants.ENDPOINT} cannot be reached: {reason}") from None


def _checksums(repository: Repository, commit: str, library: Any) -> dict[str, str]:
    """Return the checksum of each file at a commit: 64 digits of SHA-256 for LFS, else 40 of git's SHA-1."""
    with _problems(repository, library):
        info = library.HfApi().model_info(repository.name, revision=commit, files_metadata=True)
    return {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or []}


def _verify(path: Path, checksum: str | None) -> None:
    """Raise Problem unless a file has the checksum, or without one that which the cache has named its blob by."""
    expected = checksum or path.resolve().name
    digest = hashlib.sha256() if len(expected) == 64 else hashlib.sha1(usedforsecurity=False)
    if len(expected) != 64:  # git hashes a header too
        digest.update(b"blob %d\0" % path.stat().st_size)
    with disk_problems(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise Problem(
            f"{path.resolve()}: is not the hub's file: expected the checksum {expected}, got {digest.hexdigest()}; "
            "delete it and run again"
        )

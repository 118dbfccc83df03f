"""Postprocessing of downloaded files, as the descriptor lists it: unpack archives, replace text.

All steps run in a staging folder; then the results are moved to their places by rename, a record of them is written,
and the archives are deleted. Until the record is there, a killed run is started again from the descriptor's own files:
the archives, and NAME.orig where NAME was already replaced.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.own_names import remove_planted
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.common.publish import publish_file, sync_folder
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.finished import RECORD, archives, inputs_of, is_postprocessed
from omz_model_tools.descriptor.model import OURS, Downloadable, ModelFile, RegexReplace, UnpackArchive
from omz_model_tools.descriptor.schema import short_repr
from omz_model_tools.download.archive import Names, Refused, limits, unpack

STAGING = ".postprocessing"
LOCK = ".postprocessing.lock"
MOST_TEXT = 64 << 20  # bytes of a text in which a step replaces, and characters of its replacements: all are in memory


def postprocess(model: Downloadable, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Run the steps, all or none, unless they are done; `say` gets a line for each."""
    if not model.postprocessing:
        return
    waiting = "Waiting for another omz_downloader at work on this model..."
    with disk_problems(folder), exclusive(folder / LOCK, lambda: say(waiting)):
        _clear(folder)
        if not is_postprocessed(model, folder):
            try:
                _carry_out(model, folder, say)
            finally:
                _clear(folder)
        for name in archives(model):
            (folder / name).unlink(missing_ok=True)


def clear_leftovers(model: Downloadable, folder: Path) -> None:
    """Finish the cleaning-up of a run that was killed after it had written its record."""
    leftovers = [folder / STAGING, folder / LOCK, *(folder / name for name in archives(model))]
    if any(map(os.path.lexists, leftovers)):
        postprocess(model, folder)


def _carry_out(model: Downloadable, folder: Path, say: Callable[[str], None]) -> None:
    stage = _Stage(model, folder)
    for step in model.postprocessing:
        if isinstance(step, UnpackArchive):
            say(f"Unpacking {folder / step.file}")
            stage.unpack(step)
        else:
            say(f"Replacing text in {folder / step.file}")
            stage.replace(step)
    record = {**inputs_of(model), "outputs": _outputs(stage.files)}
    _publish(stage.files, folder)
    _write_record(record, folder)


class _Stage:
    """The staging folder: the model's files as the steps so far would have them, the originals untouched."""

    def __init__(self, model: Downloadable, folder: Path) -> None:
        self.files = folder / STAGING / "files"  # the results, to be moved over the folder
        self._folder = folder
        self._described = {file.name: file for file in model.files}
        self._unpacked: set[PurePosixPath] = set()
        self._names = Names(self._described, OURS)
        self.files.mkdir(parents=True)

    def unpack(self, step: UnpackArchive) -> None:
        archive = self._find(step.file)
        most = limits(archive.stat().st_size, shutil.disk_usage(self.files).free)
        unpack(archive, step.format, self.files, step.file.parent, self._names, most)
        self._unpacked.add(step.file)
        if self.files in archive.parents:
            archive.unlink()

    def replace(self, step: RegexReplace) -> None:
        source = self._find(step.file)
        result = _replaced(source, step, self._folder / step.file)
        target = self.files / step.file
        original = target.with_name(f"{target.name}.orig")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not original.exists():
            self._take(original)
            shutil.copyfile(source, original)
        target.write_bytes(result)

    def _take(self, path: Path) -> None:
        try:
            self._names.take(PurePosixPath(path.relative_to(self.files).as_posix()))
        except Refused as refused:
            raise Problem(f"{self._folder / path.relative_to(self.files)}: {refused}") from refused

    def _find(self, name: PurePosixPath) -> Path:
        """Return the current version of a file: made by an earlier step, or the verified original."""
        if (self.files / name).is_file():
            return self.files / name
        if name in self._unpacked or name not in self._described:
            got = "an archive that an earlier step has removed" if name in self._unpacked else "neither"
            raise Problem(
                f"{self._folder / name}: expected a file of the descriptor or one that an earlier step made, got {got}"
            )
        return self._original(self._described[name])

    def _original(self, file: ModelFile) -> Path:
        path = self._folder / file.name
        kept = path.with_name(f"{path.name}.orig")  # kept by a run that was killed after it had replaced the file
        error = _find_error(path, file)
        if error is None:
            return path
        if _find_error(kept, file) is None:
            return kept
        raise Problem(f"{path}: expected the file of the descriptor, got another ({error}); download it again")


def _replaced(source: Path, step: RegexReplace, path: Path) -> bytes:
    """Return the text with its replacements; `path` is the name of the file for errors."""
    if source.stat().st_size > MOST_TEXT:
        raise Problem(
            f"{path}: expected a text of at most {MOST_TEXT} bytes to replace in, got {source.stat().st_size}"
        )
    try:
        text = source.read_text(encoding="utf-8")  # universal newlines, as Open Model Zoo's patterns expect
        result, number = step.pattern.subn(_bounded(step.replacement, path), text, count=step.count)
        content = result.encode()
    except (UnicodeError, re.error, IndexError) as error:
        raise Problem(f"{path}: text cannot be replaced: {one_line(error)}") from error
    if number < (step.count or 1):
        wanted = step.count or "at least one"
        raise Problem(
            f"{path}: expected {wanted} occurrences of the pattern {short_repr(step.pattern.pattern)}, got {number}"
        )
    return content


def _bounded(replacement: str, path: Path) -> Callable[[re.Match[str]], str]:
    """Return a function that gives the replacement of a match; Problem before all together exceed MOST_TEXT."""
    total = 0

    def expand(match: re.Match[str]) -> str:
        nonlocal total
        longest = max(len(group or "") for group in (match[0], *match.groups()))
        total += len(replacement) + replacement.count("\\") * longest  # at most: each \ may be a group
        if total > MOST_TEXT:
            raise Problem(f"{path}: the replacements would have more than {MOST_TEXT} characters")
        return match.expand(replacement) if "\\" in replacement else replacement  # which is parsed for each match

    return expand


def _outputs(files: Path) -> list[dict[str, str | int]]:
    """Sync and hash every staged file; return them as the record has them."""
    found: list[dict[str, str | int]] = []
    for path in sorted(files.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
                while chunk := stream.read(verify.CHUNK):
                    digest.update(chunk)
            name = path.relative_to(files).as_posix()
            found.append({"path": name, "size": path.stat().st_size, "sha256": digest.hexdigest()})
    return found


def _publish(files: Path, folder: Path) -> None:
    """Move the staged files over the folder, after deleting the record of the old ones."""
    staged = sorted(path.relative_to(files) for path in files.rglob("*"))
    folders = {name for name in staged if (files / name).is_dir()}
    for name in staged:
        _check_place(folder / name, is_folder=name in folders)
    (folder / RECORD).unlink(missing_ok=True)
    for name in staged:
        if name in folders:
            (folder / name).mkdir(exist_ok=True)
    # NAME.orig is on the disk before NAME is replaced, so that the descriptor's own bytes are never lost.
    originals = {name for name in staged if name.suffix == ".orig"}
    for names in (originals, set(staged) - folders - originals):
        for name in sorted(names):
            (files / name).replace(folder / name)
        for place in {folder, *((folder / name).parent for name in names), *(folder / name for name in folders)}:
            sync_folder(place)


def _check_place(path: Path, is_folder: bool) -> None:
    """Raise Problem if something else is in the place of a staged file or folder."""
    if is_folder and (path.is_symlink() or (path.exists() and not path.is_dir())):
        kind = "a symbolic link" if path.is_symlink() else "a file"
        raise Problem(f"{path}: expected a folder or nothing, got {kind}; move it away")
    if not is_folder and path.is_dir() and not path.is_symlink():
        raise Problem(f"{path}: expected a file or nothing, got a folder; move it away")


def _write_record(record: dict[str, Any], folder: Path) -> None:
    new = folder / STAGING / "record.json"
    with new.open("x", encoding="utf-8") as out:
        json.dump(record, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    publish_file(new, folder / RECORD)


def _clear(folder: Path) -> None:
    """Remove the staging folder, of this run or a killed one."""
    remove_planted(folder / STAGING)
    if (folder / STAGING).exists():
        shutil.rmtree(folder / STAGING)


def _find_error(path: Path, file: ModelFile) -> verify.VerificationError | None:
    """Return why the file does not match; a folder in its place counts as missing."""
    return verify.find_error(path, file) if path.is_file() else verify.MissingFile()

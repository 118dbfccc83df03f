"""The folder of a run: its lock, its settings in run.json, and its checkpoints, which appear complete or not at all."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_text_prediction.engine import checksum
from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.publish import MODEL
from gpt2_tools.finetune.settings import DEFAULTS, FIXED, FRESH, LATEST, Settings
from omz_model_tools.common import PublishedFolder, disk_problems, if_free, one_line, publishing

RUN, STATE, LOCK = "run.json", "trainer_state.json", ".gpt2_finetune.lock"
TOKENS, TOKENIZER, SAMPLES = "tokens", "tokenizer", "samples"
CHECKSUMS = "checksums.json"
"""The SHA-256 of every other file of a checkpoint, by name."""
FACTS = {"settings": dict, "size": dict, "processes": int, "model_files": list, "data": list, "validation_data": list}
"""What run.json has, by the types of JSON."""
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
BEGUN = re.compile(r"\.(checkpoint-\d+|tokens)\.(new|old|deleted)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run, whole when it was saved."""

    path: Path
    step: int

    def damage(self) -> str | None:
        """Return what has happened to it since it was saved, in words: every byte is read; None if nothing has."""
        sums = self.path / CHECKSUMS
        try:
            saved = dict(json.loads(sums.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            return f"{sums}: cannot be read: {one_line(error)}"
        for name, expected in saved.items():
            path = self.path / name
            if not path.is_file():
                return f"{path}: is missing"
            if checksum(path) != expected:
                return f"{path}: was changed or damaged since it was saved: its SHA-256 is another"
        return None


@contextmanager
def readable_checkpoint(path: Path) -> Iterator[None]:
    """Raise Problem for a checkpoint that was damaged since it was saved, in whichever library's words."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        reason = one_line(error)[:200]
        raise Problem(f"{path}: cannot be read: {reason}; give --restore_from another checkpoint, or fresh") from error


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock, with what a killed run left behind cleaned up. Raises Problem if another holds it."""
        with disk_problems(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with if_free(self.path / LOCK) as is_free:
                if not is_free:
                    raise Problem(
                        f"{self.path}: another gpt2_finetune is at work here; wait, or give another --run_name"
                    )
                self._recover()
                yield

    def _recover(self) -> None:
        for path in sorted(self.path.iterdir()):
            begun = BEGUN.fullmatch(path.name)
            if begun is None:
                continue
            if begun[2] == "deleted":
                shutil.rmtree(path)
            else:
                PublishedFolder(self.path / begun[1]).recover()

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints, the latest last."""
        names = ((path, CHECKPOINT.fullmatch(path.name)) for path in self.path.glob("checkpoint-*"))
        return sorted((Checkpoint(path, int(name[1])) for path, name in names if name), key=lambda found: found.step)

    def save(self, step: int, needed: int, write: Callable[[Path], None]) -> None:
        """Write a checkpoint: into a folder of another name, synced, then renamed.

        needed: its bytes, about. Raises Problem, and leaves the last one as it is, if it cannot be written.
        """
        folder = PublishedFolder(self.path / f"checkpoint-{step}")
        with disk_problems(folder.target), folder.replacing(needed) as new:
            write(new)
            sums = {path.name: checksum(path) for path in sorted(new.iterdir())}
            (new / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
            for path in new.iterdir():  # safetensors' are for their owner alone
                path.chmod((new / CHECKSUMS).stat().st_mode)

    def require_whole(self, checkpoint: Checkpoint) -> None:
        """Raise Problem if a checkpoint was damaged since it was saved, with the last one that was not."""
        damage = checkpoint.damage()
        if damage is None:
            return
        others = (other for other in reversed(self.checkpoints()) if other != checkpoint)
        good = next((str(other.path) for other in others if other.damage() is None), FRESH)
        raise Problem(f"{damage}; give --restore_from {good} --overwrite")

    def delete(self, checkpoint: Checkpoint) -> None:
        """Delete a checkpoint; a process that dies meanwhile leaves no part of one under its name."""
        doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.deleted")
        with disk_problems(checkpoint.path):
            shutil.rmtree(doomed, ignore_errors=True)
            checkpoint.path.rename(doomed)
            shutil.rmtree(doomed)

    def prune(self, keep: int, best: int | None = None) -> None:
        """Delete all but the latest checkpoints, and the one of the step `best`."""
        for checkpoint in self.checkpoints()[:-keep]:
            if checkpoint.step != best:
                self.delete(checkpoint)

    def facts(self) -> dict[str, Any] | None:
        """Return what run.json says; None without one."""
        try:
            found = json.loads((self.path / RUN).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Problem(f"{self.path / RUN}: cannot be read: {error}; move the run's folder away") from None
        if not isinstance(found, dict) or any(not isinstance(found.get(name), kind) for name, kind in FACTS.items()):
            raise Problem(f"{self.path / RUN}: expected the settings of a run; move the run's folder away")
        return found

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Write run.json."""
        with publishing(self.path / RUN) as out:
            out.write(f"{json.dumps(facts, indent=2)}\n".encode())

    def choose(self, settings: Settings) -> Checkpoint | None:
        """Return the checkpoint to resume from; None to begin with the model itself.

        Raises Problem for a run whose checkpoints or model would be lost unasked.
        """
        found = self.checkpoints()
        chosen = self._chosen(settings.restore_from, found)
        later = [checkpoint.path for checkpoint in found if chosen is None or checkpoint.step > chosen.step]
        model = self.path / MODEL
        lost = [model] if chosen is None and model.is_dir() and not later else later
        if lost and not settings.overwrite:
            latest = f", or --restore_from {LATEST}" if later else ""
            raise Problem(f"{lost[-1]}: would be lost; give another --run_name, --overwrite to delete it{latest}")
        return chosen

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raise Problem if this is a run with other settings, data or size. facts: what run.json will say."""
        known = self.facts()
        if known is None:
            raise Problem(f"{self.path / RUN}: expected the settings of the run, got no file; give another --run_name")
        refuse_changes(self.path, known, facts)

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints, the last one first, and the samples of the steps after this one."""
        for checkpoint in reversed(self.checkpoints()):
            if checkpoint.step > step:
                self.delete(checkpoint)
        for path in (self.path / SAMPLES).glob("samples-*.txt"):
            number = path.stem.partition("-")[2]
            if number.isdecimal() and int(number) > step:
                path.unlink()

    def _chosen(self, restore_from: str, found: list[Checkpoint]) -> Checkpoint | None:
        if restore_from == FRESH:
            return None
        if restore_from == LATEST:
            return found[-1] if found else None
        given = Path(restore_from)
        for checkpoint in found:
            if given.resolve() == checkpoint.path.resolve():
                return checkpoint
        known = ", ".join(str(checkpoint.path) for checkpoint in found) or "none"
        raise Problem(f"--restore_from: expected {LATEST}, {FRESH} or a checkpoint of this run ({known}), got {given}")


def refuse_changes(run: Path, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise Problem, by name, if what a run must keep has changed."""
    advice = "a resumed run keeps it; give another --run_name, or --restore_from fresh --overwrite"
    for name in FIXED:
        before, now = (about["settings"].get(name, DEFAULTS[name]) for about in (known, facts))
        if before != now:
            raise Problem(f"--{name}: {run} was begun with {before}, got {now}: {advice}")
    model = "--from_scratch" if facts["settings"].get("from_scratch") else "--model"
    for name, flag in (("size", model), ("processes", "torchrun")):
        if known.get(name) != facts[name]:
            raise Problem(
                f"{flag}: {run} was begun with {_words(known.get(name))}, got {_words(facts[name])}: {advice}"
            )
    files = ("model_files", model), ("data", "--dataset"), ("validation_data", "--validation_file")
    for name, flag in files:
        if _contents(known[name]) != _contents(facts[name]):
            raise Problem(
                f"{flag}: {run} was begun with other files: {_difference(known[name], facts[name])}: {advice}"
            )
    if known.get("tokenizer_sha256") != facts["tokenizer_sha256"]:
        place = f"{run / TOKENIZER}: was" if facts["settings"].get("from_scratch") else "--model: its tokenizer was"
        raise Problem(f"{place} changed since {run} was begun: {advice}")


def _words(fact: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in fact.items()) if isinstance(fact, dict) else str(fact)


def _contents(files: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(file.get("sha256"), file.get("column")) for file in files]


def _difference(known: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    """Return the first file that differs, in words."""
    for before, now in zip(known, found, strict=False):
        if _contents([before]) != _contents([now]):
            return f"{now['path']} has the SHA-256 {now['sha256'][:12]}, expected {str(before.get('sha256'))[:12]}"
    return f"{len(found)} files, expected {len(known)}"

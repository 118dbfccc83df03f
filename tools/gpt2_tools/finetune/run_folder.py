"""The folder of a run: its lock, its settings in run.json, and its checkpoints, which appear complete or not at all."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.publish import MODEL
from gpt2_tools.finetune.settings import DEFAULTS, FIXED, FRESH, LATEST, Settings
from omz_model_tools.common import PublishedFolder, disk_problems, if_free, one_line, publish_file

RUN, STATE, LOCK = "run.json", "trainer_state.json", ".gpt2_finetune.lock"
TOKENS, SAMPLES = "tokens", "samples"
SAVED = (STATE, "optimizer.pt", "scheduler.pt")
"""The files of every checkpoint, beside its weights."""
FACTS = {"settings": dict, "size": dict, "processes": int, "data": list, "validation_data": list}
"""What run.json has, by the types of JSON."""
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
BEGUN = re.compile(r"\.(checkpoint-\d+|tokens)\.(new|old|deleted)")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint of a run."""

    path: Path
    step: int

    def check(self) -> None:
        """Raise Problem if a file of it was deleted or cut off since it was saved; no weights are read."""
        from safetensors import safe_open  # noqa: PLC0415

        weights = [path.name for path in self.path.glob("*.safetensors")] or ["model.safetensors"]
        for name in (*SAVED, *weights):
            if not (self.path / name).is_file():
                raise Problem(f"{self.path / name}: is missing; give --restore_from another checkpoint, or fresh")
            with readable_checkpoint(self.path / name):
                if name == STATE:
                    dict(json.loads((self.path / name).read_bytes()))
                elif name in weights:
                    safe_open(self.path / name, "np")
                else:
                    ZipFile(self.path / name).close()


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
        new = self.path / f".{RUN}.new"
        with disk_problems(self.path / RUN, new):
            new.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            publish_file(new, self.path / RUN)

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
    for name, flag in (("size", "--model"), ("model_sha256", "--model"), ("processes", "torchrun")):
        if known.get(name) != facts[name]:
            raise Problem(
                f"{flag}: {run} was begun with {_words(known.get(name))}, got {_words(facts[name])}: {advice}"
            )
    for name, flag in (("data", "--dataset"), ("validation_data", "--validation_file")):
        if _contents(known[name]) != _contents(facts[name]):
            raise Problem(f"{flag}: {run} was begun with other data: {_difference(known[name], facts[name])}: {advice}")


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

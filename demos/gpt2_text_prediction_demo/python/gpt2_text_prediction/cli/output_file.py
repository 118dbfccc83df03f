"""The file of -o: one JSON record per line; a run that was killed resumes it, and no record is lost or doubled."""

import io
import json
import os
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gpt2_text_prediction.cli.prompts import CARRIED
from gpt2_text_prediction.cli.run_key import differing
from gpt2_text_prediction.engine.configuration import ARITHMETIC
from gpt2_text_prediction.problem import Problem

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


FIELDS = {"prompt_number": int, "sample": int, "prompt": str, "settings": dict, "run_seed": int}
"""What a record must have, whatever wrote it."""
LATER_FIELDS = {"run": dict, "properties": dict}
"""What those of earlier versions lack."""
BEGINNING = b'{"run": {"'
NOTHING: Mapping[str, Any] = MappingProxyType({})


class OutputFile:
    """A file of records that one process writes at a time, each of the same run.

    properties: of the device, that its records depend on; empty until it has begun.
    """

    def __init__(self, path: Path, run: dict[str, str]) -> None:
        """Open a file, or create it; run: the key of the run that its records must be of.

        Raises Problem for a file that cannot be written, or is locked by another process.
        """
        self._path, self._run = path, run
        self.properties: dict[str, str] = {}
        try:
            if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device has no end to read to
                raise Problem(f"-o {path}: is no regular file; expected one that a later run can go on with")
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as problem:
            raise Problem(f"-o {path}: cannot be written: {problem.strerror}") from None
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            raise Problem(f"-o {path}: another process is writing it") from None

    def begin(self, properties: Mapping[str, str]) -> None:
        """Take the properties that the device reports; raise Problem where the file's records are of others."""
        if self.properties and self.properties != properties:
            names = sorted(self.properties.keys() | properties.keys())
            values = ((name, self.properties.get(name, "none"), properties.get(name, "none")) for name in names)
            differing = ", ".join(f"{name} {its}, not {now}" for name, its, now in values if its != now)
            raise Problem(
                f"-o {self._path}: is of a run with {differing}: name no other precision, go on with it on a CPU that "
                "computes so, or give another file"
            )
        self.properties = dict(properties)

    def close(self) -> None:
        """Close the file, and so release its lock."""
        self._file.close()

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records at the end; they are on disk when this returns."""
        shared = {"run": self._run, "properties": self.properties}
        lines = (json.dumps({**shared, **record}, ensure_ascii=False) + "\n" for record in records)
        content = "".join(lines).encode()
        try:
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise Problem(f"-o {self._path}: cannot be written: {problem.strerror}") from None

    def checked(self, line: bytes, n: int, fields: Mapping[str, type]) -> dict[str, Any]:
        """Return the record of line n, else raise Problem: one of this run, with these fields."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("run"), str | dict):
            raise self.refusal(n, "is no record")
        if not _has(record, LATER_FIELDS):
            reason = "is of an earlier version, which did not note all that its texts depend on"
            raise self.refusal(n, reason, "finish it with that version, or give another file")
        is_known = bool(self.properties) and record["properties"] == self.properties
        if not _has(record, fields) or not (is_known or _are_properties(record["properties"])):
            raise self.refusal(n, "is no record")
        if record["run"] != self._run and (differs := differing(self._run, record["run"])):
            raise self.refusal(n, f"is of another run; different: {differs}")
        if not self.properties:
            self.properties = record["properties"]
        return record

    def require_same_properties(self, record: Mapping[str, Any], n: int) -> None:
        """Raise Problem for a record of a device that computes otherwise."""
        if record["properties"] != self.properties:
            raise self.refusal(n, "is of another run; different: the device's arithmetic")

    def refusal(self, line: int, reason: str, remedy: str = "give another file, or remove this one") -> Problem:
        """Return the Problem of a line."""
        return Problem(f"-o {self._path}: line {line} {reason}: {remedy}")


class Records(OutputFile):
    """The records of one run, by prompt and sample; one that was not written whole is cut off.

    Of those in the file, numbers are kept, not texts: 32 bytes a record. seed: that of the run, None until it is given
    or has begun. count: how many texts the file has.
    """

    def __init__(self, path: Path, run: dict[str, str], seed: int | None = None) -> None:
        """As OutputFile; seed: the run's, if given. Raises Problem also for a file that holds anything else."""
        super().__init__(path, run)
        self.seed = seed
        try:
            self._found = self._read()
        except Problem:
            self.close()
            raise
        self.count = len(self._found.samples)

    def samples_of(
        self, prompt_number: int, prompt: str, settings: Mapping[str, Any], carried: Mapping[str, Any] = NOTHING
    ) -> Sequence[int]:
        """Return which texts of a prompt the file had when it was opened, in their order.

        carried: what its records repeat. Raises Problem where they are of another prompt, or of one with other settings
        of its own, or repeat something else.
        """
        found = self._found
        first = bisect_left(found.prompts, prompt_number)
        last = bisect_right(found.prompts, prompt_number, first)
        if first < last:
            asked = _fingerprint(prompt, settings, carried)
            for place in range(first, last):
                if found.fingerprints[place] != asked:  # or written otherwise, such as 1.0 and 1
                    self._require_equal(found.offsets[place], prompt, {**settings, **carried})
        return found.samples[first:last]

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records; they are on disk when this returns."""
        self.write(records)
        self.count += len(records)

    def _read(self) -> "_Found":
        found = _Found.of_none()
        end = 0
        with self._reading(0) as lines:
            for n, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    if not end and line[: len(BEGINNING)] != BEGINNING[: len(line)]:
                        raise self.refusal(1, "is no record")
                    break
                record = self._record(line, n)
                try:
                    found.add(record, end)
                except OverflowError:  # numbers that no run writes
                    raise self.refusal(n, "is no record") from None
                end += len(line)
        self._file.truncate(end)  # a record that was being written when the process was killed
        return found.in_order()

    def _record(self, line: bytes, n: int) -> dict[str, Any]:
        record = self.checked(line, n, FIELDS)
        if self.seed is None:
            self.seed = record["run_seed"]
        self.require_same_properties(record, n)
        if record["run_seed"] != self.seed:
            raise self.refusal(n, f"is of a run with the seed {record['run_seed']}, not {self.seed}")
        return record

    def _require_equal(self, offset: int, prompt: str, own: Mapping[str, Any]) -> None:
        with self._reading(offset) as lines:
            record = json.loads(lines.readline())
        if record["prompt"] != prompt:
            raise Problem("is another prompt than the one in the output file: give another file with -o")
        its = record["settings"] | _carried(record)
        names = sorted(its.keys() | own.keys())
        if changed := [name for name in names if its.get(name) != own.get(name)]:
            raise Problem(f"{changed[0]}: is another than in the output file: give another file with -o")

    @contextmanager
    def _reading(self, offset: int) -> Iterator[BinaryIO]:
        self._file.seek(offset)  # what is written goes to the end all the same
        reader = io.BufferedReader(self._file)
        try:
            yield reader
        finally:
            reader.detach()  # which else closed the file


class _Found(NamedTuple):
    """The records of a file, one number of each in every column. fingerprints: of prompts and their settings."""

    prompts: "array[int]"
    samples: "array[int]"
    fingerprints: "array[int]"
    offsets: "array[int]"

    @classmethod
    def of_none(cls) -> "_Found":
        return cls(*(array("q") for _ in cls._fields))

    def add(self, record: Mapping[str, Any], offset: int) -> None:
        fingerprint = _fingerprint(record["prompt"], record["settings"], _carried(record))
        values = record["prompt_number"], record["sample"], fingerprint, offset
        for column, value in zip(self, values, strict=True):
            column.append(value)

    def in_order(self) -> "_Found":
        """Return them by prompt, then sample; of two of the same text the later one."""
        rows = np.array(self, np.int64)  # [4, records]
        rows = rows[:, np.lexsort((rows[1], rows[0]))]  # which keeps the order of equal ones
        if rows.size:
            has_later = (rows[:2, 1:] == rows[:2, :-1]).all(axis=0)
            rows = rows[:, np.append(~has_later, True)]
        return _Found(*(array("q", row.tobytes()) for row in rows))


def _carried(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in CARRIED if name in record}


def _fingerprint(prompt: str, settings: Mapping[str, Any], carried: Mapping[str, Any]) -> int:
    """Return the same number for the same prompt and what came with it, in this process."""
    return hash((prompt, *(repr(sorted(each.items())) if each else "" for each in (settings, carried))))


def _are_properties(found: Mapping[str, Any]) -> bool:
    return found.keys() <= set(ARITHMETIC) and all(isinstance(value, str) for value in found.values())


def _has(record: Mapping[str, Any], fields: Mapping[str, type]) -> bool:
    return all(map(isinstance, map(record.get, fields), fields.values()))

"""The file of gpt2_classify -o: a record a text, in the order of the texts; it is read beside them, not kept."""

from pathlib import Path
from typing import Any

from gpt2_text_prediction.cli.output_file import BEGINNING, OutputFile

FIELDS = {"number": int, "text": str, "label": str, "score": float, "scores": list, "cut": int}


class LabelRecords(OutputFile):
    """Records by the number of their text; a text that has no label has none."""

    def __init__(self, path: Path, run: dict[str, str]) -> None:
        """As OutputFile, at the beginning of the file. Raises Problem also for one that begins with anything else."""
        super().__init__(path, run)
        try:
            self._reader = open(path, "rb")  # noqa: SIM115
            self._line = self._end = self._taken = 0
            self._next = self._read()
            if self._next is None:
                self._reader.seek(0)
                begun = self._reader.read(len(BEGINNING))
                if begun != BEGINNING[: len(begun)]:
                    raise self.refusal(1, "is no record")
        except BaseException:
            self.close()
            raise

    def take(self, number: int, text: str) -> dict[str, Any] | None:
        """Return the record of the next text, if the file has it. Raises Problem where it has another in its place."""
        record = self._next
        if record is None or record["number"] > number:
            return None
        if record["number"] != number:
            raise self.refusal(self._line, "is not in the order of the texts")
        if record["text"] != text:
            raise self.refusal(self._line, f"is of another text {number} than the input has", "give another file")
        self._taken, self._next = number, self._read()
        return record

    def add(self, records: list[dict[str, Any]]) -> None:
        """Write the records of texts after all that are in the file; they are on disk when this returns."""
        if self._next is not None or any(record["number"] < self._taken for record in records):
            raise self.refusal(self._line, "is not of the next text", "give another file")
        if not self._reader.closed:
            self._reader.close()
            self._file.truncate(self._end)  # a record that was being written when the process was killed
        self.write(records)

    def require_end(self) -> None:
        """Raise Problem where the file has records of texts after the last one."""
        if self._next is not None:
            raise self.refusal(self._line, "is of a text that the input does not have", "give another file")

    def close(self) -> None:
        """Close the file, and so release its lock."""
        if hasattr(self, "_reader"):
            self._reader.close()
        super().close()

    def _read(self) -> dict[str, Any] | None:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            return None
        self._line += 1
        self._end += len(line)
        record = self.checked(line, self._line, FIELDS)
        self.require_same_properties(record, self._line)
        return record

"""omz_converter --checkpoint: convert a user's own checkpoint folder, without a descriptor.

-o OUT gives OUT/FP16/NAME.xml and OUT/FP32/NAME.xml, each with its tokenizer beside it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.publish import PublishedFolder, locked_folders
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import LOCK, build, check_room, publish_ir
from omz_model_tools.convert.recipes import Recipe
from omz_model_tools.convert.write_progress import Watch, unwatched

PRECISIONS = ("FP16", "FP32")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, the name of its IRs, the name of the recipe that reads it, and an adapter to merge."""

    folder: Path
    name: str
    recipe: str
    adapter: Path | None = None  # a folder, of the peft library

    def check(self) -> None:
        """Raise Problem unless the folders are some, and the name can be that of a file."""
        for folder, what in ((self.folder, "a checkpoint"), (self.adapter, "a peft adapter")):
            if folder is not None and not folder.is_dir():
                kind = "a file; give the folder that it is in" if folder.exists() else "none"
                raise Problem(f"{folder}: expected the folder of {what}, got {kind}")
        plain = Path(self.name).name == self.name and "\\" not in self.name and self.name.isprintable()
        if not plain or self.name in ("", ".", ".."):
            raise Problem(f"--model_name: expected a name of a file without its suffix, got {self.name!r}")


@dataclass(frozen=True)
class CheckpointConverter:
    output_dir: Path
    precisions: Sequence[str]
    report: Report
    dry_run: bool = False
    watch: Watch = unwatched

    def convert(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Publish an IR in each precision; Problem for the first that fails."""
        checkpoint.check()
        others = sorted(set(self.precisions) - set(PRECISIONS))
        if others:
            quantize = shlex.join(
                ["omz_quantizer", "--model", str(self.output_dir / "FP16" / f"{checkpoint.name}.xml")]
            )
            raise Problem(
                f"--precisions: expected {', '.join(PRECISIONS)} for a checkpoint, got {', '.join(others)}; "
                f"convert it to FP16 and run: {quantize}"
            )
        folders = [PublishedFolder(self.output_dir / precision) for precision in sorted(set(self.precisions))]
        if self.dry_run:
            for folder in folders:
                self._announce(checkpoint, folder.target, "(DRY RUN) ")
                self.report.line()
        else:
            with disk_problems(self.output_dir):
                self._convert(checkpoint, recipe, folders)

    def _convert(self, checkpoint: Checkpoint, recipe: Recipe, folders: Sequence[PublishedFolder]) -> None:
        with locked_folders(self.output_dir / LOCK, folders, self._say_waiting):
            for folder in folders:
                _refuse_another_model(folder.target, checkpoint.name)
            conversion = build(recipe, checkpoint.folder, {}, checkpoint.adapter)
            check_room(conversion.model, folders)
            for folder in folders:
                self._announce(checkpoint, folder.target)
                publish_ir(conversion, folder, checkpoint.name, self.watch)
                self.report.line()
        for note in conversion.notes:
            self.report.warning(note)

    def _announce(self, checkpoint: Checkpoint, folder: Path, mark: str = "") -> None:
        self.report.section(f"{mark}Converting {checkpoint.name} to IR ({folder.name})")
        xml = folder / f"{checkpoint.name}.xml"
        source = " + ".join(str(path) for path in (checkpoint.folder, checkpoint.adapter) if path is not None)
        self.report.line(f"Conversion recipe: {checkpoint.recipe} ({source}) -> {xml}")

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another omz_converter at work in this folder...")


def _refuse_another_model(folder: Path, name: str) -> None:
    """Raise Problem if the folder has another model's IR: their tokenizer files would have the same names."""
    others = sorted(path.stem for path in folder.glob("*.xml") if path.stem != name)
    if others:
        raise Problem(
            f"{folder}: expected no IR but {name}.xml, got {others[0]}.xml; "
            f"give another -o, or --model_name {shlex.quote(others[0])} to replace it"
        )

"""One model to convert: where its files lie, where its IRs go; it converts nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.publish import FolderPlace
from omz_model_tools.descriptor.model import Model


@dataclass(frozen=True)
class Job:
    model: Model
    download_dir: Path
    output_dir: Path

    @property
    def downloaded(self) -> Path:
        return self.download_dir / self.model.subdirectory

    @property
    def converted(self) -> Path:
        return self.output_dir / self.model.subdirectory

    @property
    def folder(self) -> Path:
        """What a recipe is given: the deepest folder below which all the model's files lie."""
        return self.downloaded / os.path.commonpath([str(file.name.parent) for file in self.model.files])

    def place(self, precision: str) -> FolderPlace:
        return FolderPlace(self.converted / precision)

    def xml(self, precision: str) -> Path:
        return self.place(precision).target / f"{self.model.name}.xml"

    def checksums(self) -> dict[str, str]:
        """What the descriptor says of the files a recipe is given, as far as their sizes bear it out.

        They are not hashed again: the downloader has done so, and --verify does.
        """
        known = {}
        for file in self.model.files:
            path = self.downloaded / file.name
            if file.checksum.algorithm == "sha256" and file.size in (None, path.stat().st_size):
                known[str(path.relative_to(self.folder))] = file.checksum.digest
        return known

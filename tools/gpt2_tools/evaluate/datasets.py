"""The texts that figures are published for, where omz_data_downloader puts them, held against their sums."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.texts import Text, read_text


@dataclass(frozen=True)
class Dataset:
    """The file of a data set that is measured."""

    name: str
    file: PurePosixPath
    sha256: str

    def path(self, folder: Path) -> Path:
        """Return where it lies; folder: omz_data_downloader's -o."""
        return folder / "datasets" / self.name / self.file


WIKITEXT_2 = Dataset(
    "wikitext-2",
    PurePosixPath("wikitext-2-raw/wiki.test.raw"),
    "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
)
DATASETS = {dataset.name: dataset for dataset in (WIKITEXT_2,)}


def read_dataset(dataset: Dataset, folder: Path) -> Text:
    """Read a data set's text. Raises Problem, naming the command that brings it, where it is not there or another."""
    path = dataset.path(folder)
    command = f"omz_data_downloader --name {dataset.name}" + ("" if folder == Path() else f" -o {folder}")
    if not path.is_file():
        raise Problem(f"{path}: there is no such file; `{command}` brings it, and --data_dir says where it is")
    text = read_text(path)
    if text.sha256 != dataset.sha256:
        raise Problem(f"{path}: expected the SHA-256 {dataset.sha256}, got {text.sha256}; `{command}` brings it again")
    return text

"""omz_data_downloader: download the files of data sets, as omz_downloader those of models."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from omz_model_tools.cli.download_flags import add_download_flags, refuse_contradictions, run_downloads
from omz_model_tools.cli.selection import add_selection, selected_of
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.parser import Parser
from omz_model_tools.descriptor.catalogue import DATASETS


def data_downloader(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """Run omz_data_downloader; `roots` as for the downloader."""
    return guarded(lambda: _download(argv, roots))


def _download(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    about = "Download data sets and verify them."
    parser = Parser(prog="omz_data_downloader", description=about)
    add_selection(parser, "download", "data sets")
    add_download_flags(parser, "data sets")
    args = parser.parse_args(argv)
    refuse_contradictions(parser, args)
    datasets = selected_of(DATASETS, parser, args, roots)
    return 0 if datasets is None else run_downloads(datasets, args)

"""omz_downloader: models' files, fetched and verified."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from omz_model_tools.cli.selection import add_folder, add_selection, each, positive, selected
from omz_model_tools.guard import guarded
from omz_model_tools.progress import progress_on
from omz_model_tools.report import Report


def downloader(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """omz_downloader; `roots` are trees of descriptors, the packaged one unless told otherwise."""
    return guarded(lambda: _download(argv, roots))


def _download(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    models = selected(parser, args, roots)
    if models is None:
        return 0

    from omz_model_tools.download import Downloader  # noqa: PLC0415
    from omz_model_tools.sources import Sources  # noqa: PLC0415

    report = Report(sys.stdout, sys.stderr)
    progress = progress_on(sys.stderr)
    with Sources() as sources:
        work = Downloader(args.output_dir, args.num_attempts, report, sources.read, progress, time.sleep)
        return each(models, work.download, report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omz_downloader", description="Download model files and verify them.")
    add_selection(parser, "download")
    add_folder(parser, "-o", "--output_dir", "path where to save models")
    attempts = "attempt each download up to N times"
    parser.add_argument("--num_attempts", type=positive, metavar="N", default=1, help=attempts)
    return parser

"""What omz_downloader and omz_data_downloader share: their flags, and the run by these."""

import argparse
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from omz_model_tools.cli.selection import BrokenDescriptor, add_folder, folder_of
from omz_model_tools.common.arguments import positive_int
from omz_model_tools.common.report import Events, Quiet, Report
from omz_model_tools.common.version import version
from omz_model_tools.descriptor.model import Downloadable
from omz_model_tools.download.mirror import HUB, VARIABLE, base_url

ATTEMPTS = 5
NOT_BESIDE = {
    "verify": ("dry_run", "offline", "mirror", "cache_dir", "num_attempts", "jobs", "progress_format json"),
    "dry_run": ("quiet", "progress_format json"),
    "quiet": ("progress_format json",),
    "offline": ("mirror",),
}


def add_download_flags(parser: argparse.ArgumentParser, what: str) -> None:
    add_folder(parser, "-o", "--output_dir", f"path where to save {what}")
    cache = "cache of verified files, shared between runs: read before the network, and added to"
    parser.add_argument("--cache_dir", type=Path, metavar="DIR", help=cache)
    attempts = f"number of attempts per source; those that make progress do not count (default: {ATTEMPTS})"
    parser.add_argument("--num_attempts", type=positive_int, metavar="N", help=attempts)
    jobs = "download N files at once (default: 1)"
    parser.add_argument("-j", "--jobs", type=positive_int, metavar="N", help=jobs)
    mirror = f"use this host instead of {HUB} (default: the environment variable {VARIABLE})"
    parser.add_argument("--mirror", type=_mirror, metavar="URL", help=mirror)
    parser.add_argument("--offline", action="store_true", help="use only the cache and local sources, no network")
    progress = "report progress as text, or as JSON objects, one per line (default: text)"
    parser.add_argument("--progress_format", choices=("text", "json"), default="text", help=progress)
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    check = "verify size and checksum of the files that are there; download and change nothing"
    parser.add_argument("--verify", action="store_true", help=check)
    dry_run = "print what would be downloaded, how much and from where; download and change nothing"
    parser.add_argument("--dry_run", action="store_true", help=dry_run)
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)  # as the converter


def refuse_contradictions(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that exclude each other."""
    given = [flag for flag in {*NOT_BESIDE, *NOT_BESIDE["verify"]} if getattr(args, flag, False)]
    if args.progress_format == "json":
        given.append("progress_format json")
    for flag, others in NOT_BESIDE.items():
        for other in others:
            if flag in given and other in given:
                parser.error(f'"--{flag}" and "--{other}" exclude each other')


def run_downloads(chosen: Sequence[Downloadable | BrokenDescriptor], args: argparse.Namespace) -> int:
    """Verify, dry-run or download by the flags; return the exit code."""
    report = report_of(args)
    failed = set()
    for model in chosen:
        if isinstance(model, BrokenDescriptor):
            report.error(str(model.problem))
            failed.add(model.name)
    failed.update(_run([model for model in chosen if not isinstance(model, BrokenDescriptor)], args, report))
    if failed:
        report.failed([model.name for model in chosen if model.name in failed])
    return 1 if failed else 0


def _run(models: list[Downloadable], args: argparse.Namespace, report: Report) -> list[str]:
    from omz_model_tools.download.audit import Audit  # noqa: PLC0415
    from omz_model_tools.download.cache import Cache  # noqa: PLC0415
    from omz_model_tools.download.downloader import Downloader  # noqa: PLC0415
    from omz_model_tools.download.dry_run import DryRun  # noqa: PLC0415
    from omz_model_tools.download.fetch import Fetcher  # noqa: PLC0415
    from omz_model_tools.download.mirror import mirror_of  # noqa: PLC0415
    from omz_model_tools.download.progress import NoDisplay, display_on  # noqa: PLC0415
    from omz_model_tools.download.sources import Sources, hub_token  # noqa: PLC0415

    output_dir = folder_of(args.output_dir)
    if args.verify:
        return Audit(output_dir, report).check(models)
    mirror = args.mirror or mirror_of(os.environ)
    cache = None if args.cache_dir is None else Cache(args.cache_dir)
    if args.dry_run:
        return DryRun(output_dir, report, mirror, cache, args.offline).run(models)
    fetcher = Fetcher(
        open=Sources(f"omz_downloader/{version()}", login=hub_token(os.environ)).open,
        num_attempts=args.num_attempts or ATTEMPTS,
        random=random.random,
        free_space=lambda folder: shutil.disk_usage(folder).free,
        mirror=mirror,
        cache=cache,
        offline=args.offline,
    )
    events = args.progress_format == "json" and sys.stdout.isatty()  # bars would stand between them
    display = NoDisplay() if args.quiet or events else display_on(sys.stderr)
    return Downloader(output_dir, fetcher.fetch, report, display, args.jobs or 1).download(models)


def report_of(args: argparse.Namespace) -> Report:
    kind = Quiet if args.quiet else Events if args.progress_format == "json" else Report
    return kind(sys.stdout, sys.stderr)


def _mirror(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as expected:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from expected

"""gpt2_classify's main program: from flags to labels on stdout, or to a file of results.

OpenVINO is imported only where it is needed, so that --help, a missing -m and Ctrl-C need not wait for it.
"""

import argparse
import codecs
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2_text_prediction.cli.classify.arguments import build_argparser
from gpt2_text_prediction.cli.device import FORMS, device_config
from gpt2_text_prediction.cli.interrupt import raises
from gpt2_text_prediction.cli.progress import Progress
from gpt2_text_prediction.cli.prompts import RawPrompt, count_lines, from_flags, lines_of, read_text, require_lines
from gpt2_text_prediction.cli.run_key import key_of
from gpt2_text_prediction.cli.terminal import draw, guarded, hide, log, say, set_up_stdout, write
from gpt2_text_prediction.engine.configuration import INFERENCE, DeviceConfig
from gpt2_text_prediction.engine.model_file import check_files, model_path
from gpt2_text_prediction.problem import Problem, printable

if TYPE_CHECKING:
    from gpt2_text_prediction.classification.classifier import Classifier
    from gpt2_text_prediction.classification.results import Classification
    from gpt2_text_prediction.cli.classify.label_records import LabelRecords

LABELLING = "labels 1"
"""Another number where the same key and text give other probabilities."""
DIGITS = 6
TABLES = (".csv", ".tsv", ".parquet", ".json")
"""Files that would be mistaken for one text per line."""
AT_ONCE = 1 << 20
"""Bytes that are read from a pipe at once, if they have come."""
NO_MODEL = "-m/--model is missing: a model of labels, which omz_converter --checkpoint DIR makes (docs/classify.md)"


class Text(NamedTuple):
    """A text, or why there is none; name: for error messages; number: among all, from 1."""

    number: int
    name: str
    text: str
    problem: Problem | None = None


def main(argv: list[str] | None = None) -> int:
    """Run gpt2_classify; return its exit code: 0, 1 for a problem, 2 for unusable arguments, 130 for Ctrl-C."""
    return guarded(lambda: _run(build_argparser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    if args.model is None:
        say("ERROR", NO_MODEL)
        return 2
    _check(args)
    hide(*["INFO"] * args.quiet)
    set_up_stdout()
    args.model = model_path(args.model)
    check_files(args.model)
    config = device_config(args, single_row=False)
    if args.output is not None:
        return _write_records(args, config)
    with _load(args, config) as classifier, raises():
        return _print(args, classifier)


def _check(args: argparse.Namespace) -> None:
    """Raise Problem for flags that are out of range or contradict each other."""
    for flag, count in {"num_threads": args.num_threads, "top_k": args.top_k}.items():
        if count is not None and not 1 <= count < 1 << 31:
            raise Problem(f"--{flag}: expected a whole number from 1 to {(1 << 31) - 1}, got {count}")
    if args.input is not None and args.file is not None:
        raise Problem("-i, --file: expected one of them")
    if args.output is not None and args.input is None and args.file is None:
        raise Problem("-o: expected texts: give -i or --file")
    if args.file is not None and args.file.suffix.lower() in TABLES:
        raise Problem(f"--file: {args.file}: expected one text per line, or a .jsonl of objects with a 'text'")
    if args.file is not None:
        require_lines(args.file, "--file", "text")
    if args.input is None and args.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise Problem("expected texts: give -i or --file, or one text per line from a pipe")


def _load(args: argparse.Namespace, config: DeviceConfig) -> "Classifier":
    from gpt2_text_prediction.classification.classifier import Classifier  # noqa: PLC0415

    log("INFO", f"Reading model {args.model}")
    classifier = Classifier(
        args.model,
        vocab=args.vocab,
        merges=args.merges,
        device=config.device,
        precision_hint=config.precision_hint,  # type: ignore[arg-type]  # argparse has checked it
        num_threads=config.num_threads,
        config=config.properties,
        max_seq_len=args.max_seq_len,
    )
    words = ", ".join(FORMS[name].format(value) for name, value in classifier.properties.items())
    log("INFO", f"The model {args.model} is loaded to {args.device}: {words or 'its own arithmetic'}")
    log("INFO", f"Labels: {_shortened(classifier.labels)}")
    return classifier


def _shortened(labels: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(_one_line, labels[:most])) + more


def _one_line(label: str) -> str:
    """Return a label as a field of a line; one that would paint the terminal is escaped."""
    return printable(" ".join(label.split()))


class Run:
    """Labels of texts, window by window. failed, cut: how many texts had no label, or were cut."""

    def __init__(self, classifier: "Classifier", progress: Progress) -> None:
        self._classifier, self.progress = classifier, progress
        self.failed = self.cut = self.done = 0

    def classify(self, window: list[Text]) -> "list[tuple[Text, Classification]]":
        """Return the labels of those texts of a window that have one; say why the others have none."""
        usable = [text for text in window if text.problem is None]
        found = self._classifier.window([text.text for text in usable], self._step)
        results = []
        for text, result in zip(usable, found, strict=True):
            if isinstance(result, Problem):
                self.report(text._replace(problem=result))
            else:
                results.append((text, result))
        self.count(len(results), sum(1 for _, result in results if result.cut))
        return results

    def report(self, text: Text) -> None:
        """Say why a text has no label."""
        self.failed += 1
        self.progress.clear()
        say("ERROR", f"{text.name}: {text.problem}")

    def count(self, done: int, cut: int) -> None:
        """Count texts that have a label."""
        self.done += done
        self.cut += cut

    def _step(self, count: int) -> None:
        self.progress.step(count=count)

    def end(self) -> int:
        """Say what was cut; return the exit code."""
        if self.cut:
            positions = self._classifier.max_seq_len
            say(
                "WARNING", f"{self.cut} of {self.done} texts were cut at their end: at most {positions} tokens are read"
            )
        return 1 if self.failed else 0


def _print(args: argparse.Namespace, classifier: "Classifier") -> int:
    run = Run(classifier, Progress(None, "texts", lambda _: None))
    for window in _windows(args):
        for text in window:
            if text.problem is not None:
                run.report(text)
        for _, result in run.classify(window):
            fields = [f"{_one_line(label)}\t{score:.4f}" for label, score in result.top(args.top_k or 1)]
            write("\t".join(fields) + "\n")
    return run.end()


def _write_records(args: argparse.Namespace, config: DeviceConfig) -> int:
    from gpt2_text_prediction.cli.classify.label_records import LabelRecords  # noqa: PLC0415

    total = _count(args)
    settings = [args.max_seq_len, args.top_k]
    records = LabelRecords(args.output, key_of(args, LABELLING, settings, [], config.properties))
    try:
        if args.precision_hint == "auto" and INFERENCE in records.properties:  # the first run's
            config = replace(config, properties={**records.properties, **config.properties})
        with _load(args, config) as classifier, raises():
            records.begin(classifier.properties)
            progress = Progress(total, "texts", draw)
            run = Run(classifier, progress)
            progress.draw()
            try:
                for window in _windows(args):
                    _write_window(run, window, records, args.top_k or len(classifier.labels))
                records.require_end()
            finally:
                progress.clear()
            log("INFO", f"{run.done} texts are in {args.output}")
            return run.end()
    finally:
        records.close()


def _write_window(run: Run, window: list[Text], records: "LabelRecords", top_k: int) -> None:
    """Write the records of a window that the file lacks.

    All its texts are computed again if one lacks, so that their batches are those of a run that was not interrupted.
    """
    known: set[int] = set()
    cut = 0
    for text in window:
        if text.problem is not None:
            run.report(text)
        elif (record := records.take(text.number, text.text)) is not None:
            known.add(text.number)
            cut += record["cut"] > 0
    if all(text.problem is not None or text.number in known for text in window):
        run.count(len(known), cut)
        run.progress.step(made=False, count=len(window))
        return
    found = run.classify(window)
    records.add([_record(text, result, top_k) for text, result in found if text.number not in known])
    run.progress.step(count=sum(1 for text in window if text.problem is not None))


def _record(text: Text, result: "Classification", top_k: int) -> dict[str, Any]:
    scores = [{"label": label, "score": round(score, DIGITS)} for label, score in result.top(top_k)]
    label, score = result.label, round(result.score, DIGITS)
    return {
        "number": text.number,
        "text": text.text,
        "label": label,
        "score": score,
        "scores": scores,
        "cut": result.cut,
    }


def _windows(args: argparse.Namespace) -> Iterator[list[Text]]:
    """Yield the texts in the windows in which they are computed; those from a pipe as they come."""
    from gpt2_text_prediction.classification.batches import windows  # noqa: PLC0415  # numpy

    if args.input is not None:
        raws = from_flags(args.input, "text")
    elif args.file is not None:
        raws = _lines(args.file)
    else:
        for arrived in _arriving():
            yield from windows(map(_text, arrived), _size)
        return
    yield from windows(map(_text, raws), _size)


def _size(text: Text) -> int:
    return len(text.text)


def _lines(path: Path) -> Iterator[RawPrompt]:
    return lines_of(path, "--file", "text")


def _text(raw: RawPrompt) -> Text:
    try:
        text, _ = read_text(raw, "text")
    except Problem as problem:
        return Text(raw.number, raw.name, "", problem)
    blank = None if text.strip() else Problem("is blank: a label needs some text")
    return Text(raw.number, raw.name, text, blank)


def _arriving() -> Iterator[list[RawPrompt]]:
    """Yield the lines of a pipe that are not blank; those together that have come when they can be used."""
    rest, number, n = b"", 0, 0
    while chunk := _read_stdin():
        *lines, rest = (rest + chunk).split(b"\n")
        raws = []
        for line in lines:
            n += 1
            text = _without_mark(line, n)
            if text.strip():
                number += 1
                raws.append(RawPrompt(number, f"line {n}", text))
        yield raws
    if _without_mark(rest, n + 1).strip():
        yield [RawPrompt(number + 1, f"line {n + 1}", _without_mark(rest, n + 1))]


def _without_mark(line: bytes, n: int) -> bytes:
    return (line.removeprefix(codecs.BOM_UTF8) if n == 1 else line).rstrip(b"\r")


def _read_stdin() -> bytes:
    try:
        return os.read(sys.stdin.fileno(), AT_ONCE)
    except OSError as problem:
        raise Problem(f"stdin: cannot be read: {problem.strerror}") from None


def _count(args: argparse.Namespace) -> int | None:
    """Return how many texts there are; None of a pipe, which can be read but once."""
    if args.input is not None:
        return len(args.input)
    return count_lines(args.file, "--file", "text")

"""The demo's command line: the text goes to stdout, all talk to stderr. It computes nothing.

OpenVINO is imported only where it is needed, so that --help, a missing -m and Ctrl-C need not wait for it.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.interrupt import INTERRUPTED, ends_at_once, raises
from gpt2_text_prediction.cli.prompts import Asked, from_file, from_flags, from_pipe, typed_bytes
from gpt2_text_prediction.problem import Problem

if TYPE_CHECKING:
    from gpt2_text_prediction.cli.conversation import Conversation
    from gpt2_text_prediction.generator import TextGenerator

MOST = 1 << 31
PIPE_CLOSED = 141  # 128 + SIGPIPE
NO_MODEL = (
    "-m/--model is missing; these two commands make the embedded model, public/gpt-2-mini/FP16/gpt-2-mini.xml: "
    "omz_downloader --name gpt-2-mini && omz_converter --name gpt-2-mini"
)
ASK = "Type input prompt (empty string to exit):"


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code: 0, 1 for a problem, 2 for unusable arguments, 130 for Ctrl-C."""
    if sys.stderr is None:  # closed: print would talk to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        with ends_at_once():
            return _run(build_argparser().parse_args(argv))
    except Problem as problem:
        say("ERROR", str(problem))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads our text has seen enough
        _silence_stdout()
        return PIPE_CLOSED


def say(level: str, line: str) -> None:
    """Say a line on stderr in the form of Open Model Zoo's log."""
    print(f"[ {level} ]", line.replace("\n", "\\n"), file=sys.stderr, flush=True)


def _draw(text: str) -> None:
    """Write on stderr where it is a terminal, and nothing where it is not."""
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)


def _run(args: argparse.Namespace) -> int:
    if args.model is None:
        say("ERROR", NO_MODEL)
        return 2
    _check(args)
    _set_up_stdout()
    given = _given(args)
    prompts = None if args.prompt_file is None else from_file(args.prompt_file)
    if args.input is not None:
        prompts = list(from_flags(args.input))
    if args.output is not None:
        return _write_records(args, given, prompts or [])
    _choose_seed(given)
    with _load(args) as generator, raises():
        return _talk(args, given, generator, prompts)


def _check(args: argparse.Namespace) -> None:
    """Raise Problem for flags that are out of range or contradict each other."""
    flags = {"max_sample_token_num": args.max_new_tokens, "num_threads": args.num_threads, "explain": args.explain}
    for flag, count in (flags | {"num_infer_requests": args.num_infer_requests}).items():
        if count is not None and not 1 <= count < MOST:
            raise Problem(f"--{flag}: expected a whole number from 1 to {MOST - 1}, got {count}")
    if args.dynamic_shape and args.static_shape:
        raise Problem("--dynamic_shape, --static_shape: expected one of them")
    has_prompts = args.input is not None or args.prompt_file is not None
    if args.input is not None and args.prompt_file is not None:
        raise Problem("-i, --prompt_file: expected one of them")
    if (args.output is not None or args.loop) and not has_prompts:
        raise Problem(f"{'--loop' if args.loop else '-o'}: expected prompts: give -i or --prompt_file")
    if args.output is not None and (args.loop or args.explain is not None):
        raise Problem(f"-o, {'--loop' if args.loop else '--explain'}: expected one of them")
    if args.interactive and has_prompts:
        raise Problem("--interactive: expected no -i and no --prompt_file: prompts are typed")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given, by name, with their seed."""
    from gpt2_text_prediction.cli.settings import LISTS, NAMES, make_settings, parse_bias, parse_setting  # noqa: PLC0415

    flags = {name: getattr(args, name) for name in NAMES}
    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    for name in LISTS & given.keys():
        given[name] = [typed_bytes(text).decode(errors="surrogateescape") for text in given[name]]
    if "logit_bias" in given:
        given["logit_bias"] = dict(map(parse_bias, given["logit_bias"]))
    if "early_stopping" in given:
        given["early_stopping"] = parse_setting("early_stopping", given["early_stopping"])
    make_settings(given)
    return given


def _choose_seed(given: dict[str, Any]) -> None:
    given.setdefault("seed", int.from_bytes(os.urandom(4), "little"))
    say("INFO", f"Seed: {given['seed']}")


def _talk(
    args: argparse.Namespace, given: dict[str, Any], generator: "TextGenerator", prompts: list[Asked] | None
) -> int:
    from gpt2_text_prediction.cli.conversation import Conversation, Shown  # noqa: PLC0415

    shown = Shown(args.echo, args.raw_output_message, args.explain)
    talk = Conversation(generator, given, shown, _write, say)
    try:
        _answer(args, talk, prompts)
    except KeyboardInterrupt:
        talk.report()
        raise
    talk.report()
    return 1 if talk.failed else 0


def _answer(args: argparse.Namespace, talk: "Conversation", prompts: list[Asked] | None) -> None:
    from gpt2_text_prediction.cli.interactive import Interactive  # noqa: PLC0415

    if prompts is not None:
        talk.answer_all(_again_and_again(prompts) if args.loop else prompts)
    elif sys.stdin is None:
        raise Problem("stdin is closed: give a prompt with -i")
    elif sys.stdin.isatty():
        Interactive(talk, say).run(_asked())
    elif args.interactive:
        Interactive(talk, say).run(from_pipe(sys.stdin.buffer))
    else:
        talk.answer_all(from_pipe(sys.stdin.buffer))


def _again_and_again(prompts: list[Asked]) -> Iterator[Asked]:
    """Return the prompts in turns for ever, with numbers that go on, so that each turn draws others."""
    for number, asked in enumerate(itertools.cycle(prompts), 1):
        yield asked._replace(number=number)


def _asked() -> Iterator[Asked]:
    ask = _line_editor() or _plain_line
    for number in itertools.count(1):
        line = _line(ask)
        if not line.strip():
            if not line:  # end of input leaves the cursor behind the question
                print(file=sys.stderr)
            return
        yield Asked(number, "the prompt", line.rstrip(b"\r\n"))


def _line(ask: Callable[[], bytes]) -> bytes:
    """Ask for a line. Ctrl-C drops it, as it may have been meant for a text that just ended; the second one counts."""
    try:
        return ask()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say("INFO", "Ctrl-C again, an empty line or /quit ends the program")
        return ask()


def _line_editor() -> Callable[[], bytes] | None:
    """Return what asks for a line with editing and history, where a person sits at both ends."""
    if not sys.stdout.isatty():
        return None
    try:
        import readline  # noqa: F401, PLC0415  # input() uses it
    except ImportError:  # on Windows, whose console edits lines itself
        return None

    def edited_line() -> bytes:
        try:
            return input(ASK + " ").encode(errors="surrogateescape") + b"\n"
        except EOFError:
            return b""

    return edited_line


def _plain_line() -> bytes:
    print(ASK, end="", file=sys.stderr, flush=True)
    return sys.stdin.buffer.readline()


def _write_records(args: argparse.Namespace, given: dict[str, Any], prompts: list[Asked]) -> int:
    from gpt2_text_prediction.cli.batch import Batch  # noqa: PLC0415
    from gpt2_text_prediction.cli.output_file import Records  # noqa: PLC0415
    from gpt2_text_prediction.cli.progress import Progress  # noqa: PLC0415

    records = Records(args.output, _name_of_run(args, given))
    try:
        given = records.seed() | given
        _choose_seed(given)
        if records.done:
            say("INFO", f"{len(records.done)} texts are in {args.output} already")
        with _load(args) as generator, raises():
            progress = Progress(len(prompts), "prompts", _draw)

            def say_beside(level: str, line: str) -> None:
                progress.clear()
                say(level, line)

            batch = Batch(generator, given, records, say_beside)
            progress.draw()
            try:
                batch.run(prompts, args.num_infer_requests, progress.step)
            finally:
                progress.end()
            say("INFO", f"{len(records.done)} texts are in {args.output}")
            return 1 if batch.failed else 0
    finally:
        records.close()


def _name_of_run(args: argparse.Namespace, given: dict[str, Any]) -> str:
    """Return what is the same for two runs whose texts belong together: the model and all settings."""
    try:
        model = hashlib.sha256(args.model.read_bytes()).hexdigest()
    except OSError:  # which the loading will explain
        model = str(args.model)
    return hashlib.sha256(json.dumps([model, args.max_seq_len, given], sort_keys=True).encode()).hexdigest()[:16]


def _load(args: argparse.Namespace) -> "TextGenerator":
    import openvino as ov  # noqa: PLC0415

    from gpt2_text_prediction.generator import TextGenerator  # noqa: PLC0415

    say("INFO", "OpenVINO Runtime")
    say("INFO", f"\tbuild: {ov.get_version()}")
    say("INFO", f"Reading model {args.model}")
    generator = TextGenerator(
        args.model,
        vocab=args.vocab,
        merges=args.merges,
        device=args.device,
        config=_device_config(args),
        max_seq_len=args.max_seq_len,
        back_end="static" if args.static_shape else None,
    )
    say("INFO", f"The model {args.model} is loaded to {args.device}")
    for line in _as_loaded(generator):
        say("INFO", line)
    if generator.engine.back_end.name == "recompute" and not args.static_shape:
        say("WARNING", "this model cannot be given a key/value cache: each token computes the whole text again")
    elif generator.engine.fallback is not None:
        say("INFO", generator.engine.fallback)
    return generator


def _device_config(args: argparse.Namespace) -> dict[str, Any]:
    from gpt2_text_prediction.engine.configuration import default_config  # noqa: PLC0415

    config = default_config(args.device, args.precision_hint, args.num_threads)
    if args.cache_dir is not None:
        config["CACHE_DIR"] = str(_writable(args.cache_dir))
    for pair in args.config or []:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise Problem(f"--config: expected KEY=VALUE, got {pair!r}")
        config[key] = value
    return config


def _writable(folder: Path) -> Path:
    """Return a folder, which is made where it is not there; OpenVINO would pass over one that it cannot use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Problem(f"--cache_dir: {folder}: cannot be made: {problem.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Problem(f"--cache_dir: {folder}: cannot be written: give another folder")
    return folder


def _as_loaded(generator: "TextGenerator") -> Iterator[str]:
    """Say what the device made of the settings, as far as it tells."""
    names = {"INFERENCE_NUM_THREADS": "Number of threads", "INFERENCE_PRECISION_HINT": "Inference precision"}
    if generator.engine.back_end.name != "recompute":  # which has no cache
        names["KV_CACHE_PRECISION"] = "KV cache precision"
    for name, words in names.items():
        value = generator.engine.property_of_device(name)
        if value is not None:
            yield f"\t{words}: {value}"


def _set_up_stdout() -> None:
    """Write UTF-8 into a file or a pipe whatever the locale; on a terminal, what it cannot show becomes '?'."""
    if sys.stdout is None:
        raise Problem("stdout is closed: there is nowhere to write the text")
    if sys.stdout.isatty():
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    else:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        _silence_stdout()
        raise Problem(f"stdout: cannot be written: {problem.strerror}") from None


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere: Python would complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

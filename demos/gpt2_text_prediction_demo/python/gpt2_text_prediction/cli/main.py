"""The demo's main program: from flags to a conversation, or to a file of results.

OpenVINO is imported only where it is needed, so that --help, a missing -m and Ctrl-C need not wait for it.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.interrupt import INTERRUPTED, ends_at_once, raises
from gpt2_text_prediction.cli.prompts import RawPrompt, from_file, from_flags, from_pipe, typed_bytes
from gpt2_text_prediction.cli.terminal import draw, say, set_up_stdout, silence_stdout, typed_prompts, write
from gpt2_text_prediction.generation_config import ignored_names, read_generation_config
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings import SETTINGS

if TYPE_CHECKING:
    from gpt2_text_prediction.cli.conversation import Conversation
    from gpt2_text_prediction.generator import TextGenerator

MAX_COUNT = 1 << 31
PROMPTS_AT_ONCE = 8
PIPE_CLOSED = 141  # 128 + SIGPIPE
NO_MODEL = (
    "-m/--model is missing; these two commands make the embedded model, public/gpt-2-mini/FP16/gpt-2-mini.xml: "
    "omz_downloader --name gpt-2-mini && omz_converter --name gpt-2-mini"
)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code: 0, 1 for a problem, 2 for unusable arguments, 130 for Ctrl-C."""
    if sys.stderr is None:  # closed: print would write to stdout instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        with ends_at_once():
            return _run(build_argparser().parse_args(argv))
    except Problem as problem:
        say("ERROR", str(problem))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our text has seen enough
        silence_stdout()
        return PIPE_CLOSED


def _run(args: argparse.Namespace) -> int:
    if args.model is None:
        say("ERROR", NO_MODEL)
        return 2
    _check(args)
    set_up_stdout()
    defaults = _defaults(args)
    given = _given(args, defaults)
    prompts = None if args.prompt_file is None else from_file(args.prompt_file)
    if args.input is not None:
        prompts = list(from_flags(args.input))
    if args.output is not None:
        return _write_records(args, given, defaults, prompts or [])
    _choose_seed(given)
    with _load(args) as generator, raises():
        return _talk(args, given, defaults, generator, prompts)


def _check(args: argparse.Namespace) -> None:
    """Raise Problem for flags that are out of range or contradict each other."""
    flags = {"max_sample_token_num": args.max_new_tokens, "num_threads": args.num_threads, "explain": args.explain}
    for flag, count in (flags | {"num_infer_requests": args.num_infer_requests}).items():
        if count is not None and not 1 <= count < MAX_COUNT:
            raise Problem(f"--{flag}: expected a whole number from 1 to {MAX_COUNT - 1}, got {count}")
    if args.dynamic_shape and args.static_shape:
        raise Problem("--dynamic_shape, --static_shape: expected one of them")
    has_prompts = args.input is not None or args.prompt_file is not None
    if args.input is not None and args.prompt_file is not None:
        raise Problem("-i, --prompt_file: expected one of them")
    if (args.output is not None or args.loop) and not has_prompts:
        raise Problem(f"{'--loop' if args.loop else '-o'}: expected prompts: give -i or --prompt_file")
    unrecorded = {"--loop": args.loop, "--explain": args.explain is not None}
    unrecorded |= {"--no_echo": not args.echo, "-r": args.raw_output_message}
    for flag, is_given in unrecorded.items():
        if args.output is not None and is_given:
            raise Problem(f"-o, {flag}: expected one of them")
    if args.output is None and args.num_infer_requests is not None:
        raise Problem("-nireq: is for -o, which was not given: without it one prompt runs after the other")
    if args.interactive and has_prompts:
        raise Problem("--interactive: expected no -i and no --prompt_file: prompts are typed")


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the generation_config.json beside the model, and say them."""
    defaults = {} if args.no_generation_config else read_generation_config(args.model)
    if ignored := [] if args.no_generation_config else ignored_names(args.model):
        say("WARNING", f"not used of the model's generation_config.json: {', '.join(ignored)}")
    if defaults:
        values = ", ".join(f"{name} {value}" for name, value in defaults.items())
        say("INFO", f"Defaults of the model's generation_config.json (--no_generation_config ignores them): {values}")
    return defaults


def _given(args: argparse.Namespace, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, by name, checked."""
    from gpt2_text_prediction.cli.settings import make_settings, parse_setting  # noqa: PLC0415

    flags = {name: getattr(args, name) for name in SETTINGS}
    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    for name in {"stop", "bad_words"} & given.keys():
        given[name] = [typed_bytes(text).decode(errors="surrogateescape") for text in given[name]]
    for name in {"logit_bias", "early_stopping"} & given.keys():  # which argparse leaves as text
        texts = given[name] if isinstance(given[name], list) else [given[name]]
        given[name] = parse_setting(name, " ".join(texts))
    make_settings(given, defaults=defaults)
    return given


def _choose_seed(given: dict[str, Any]) -> None:
    given.setdefault("seed", int.from_bytes(os.urandom(4), "little"))
    say("INFO", f"Seed: {given['seed']}")


def _talk(
    args: argparse.Namespace,
    given: dict[str, Any],
    defaults: dict[str, Any],
    generator: "TextGenerator",
    prompts: list[RawPrompt] | None,
) -> int:
    from gpt2_text_prediction.cli.conversation import Conversation, Display  # noqa: PLC0415

    display = Display(args.echo, args.raw_output_message, args.explain)
    talk = Conversation(generator, given, defaults, display, write, say)
    try:
        _answer(args, talk, prompts)
    except KeyboardInterrupt:
        talk.report()
        raise
    talk.report()
    return 1 if talk.failed else 0


def _answer(args: argparse.Namespace, talk: "Conversation", prompts: list[RawPrompt] | None) -> None:
    from gpt2_text_prediction.cli.interactive import Interactive  # noqa: PLC0415

    if prompts is not None:
        talk.answer_all(_repeated(prompts) if args.loop else prompts)
    elif sys.stdin is None:
        raise Problem("stdin is closed: give a prompt with -i")
    elif sys.stdin.isatty():
        Interactive(talk, say).run(typed_prompts())
    elif args.interactive:
        Interactive(talk, say).run(from_pipe(sys.stdin.buffer))
    else:
        talk.answer_all(from_pipe(sys.stdin.buffer))


def _repeated(prompts: list[RawPrompt]) -> Iterator[RawPrompt]:
    """Repeat the prompts for ever, with numbers that go on, so that each turn draws other texts."""
    for number, prompt in enumerate(itertools.cycle(prompts), 1):
        yield prompt._replace(number=number)


def _write_records(
    args: argparse.Namespace, given: dict[str, Any], defaults: dict[str, Any], prompts: list[RawPrompt]
) -> int:
    from gpt2_text_prediction.cli.batch import Batch  # noqa: PLC0415
    from gpt2_text_prediction.cli.output_file import Records  # noqa: PLC0415
    from gpt2_text_prediction.cli.progress import Progress  # noqa: PLC0415
    from gpt2_text_prediction.cli.run_key import run_key  # noqa: PLC0415

    records = Records(args.output, run_key(args, {**defaults, **given}, _device_config(args)), given.get("seed"))
    try:
        if records.seed is not None:
            given["seed"] = records.seed
        _choose_seed(given)
        if records.done:
            say("INFO", f"{len(records.done)} texts are in {args.output} already")
        with _load(args) as generator, raises():
            progress = Progress(len(prompts), "prompts", draw)

            def say_beside(level: str, line: str) -> None:
                progress.clear()
                say(level, line)

            batch = Batch(generator, given, defaults, records, say_beside)
            progress.draw()
            try:
                batch.run(prompts, args.num_infer_requests or PROMPTS_AT_ONCE, progress.step)
            finally:
                progress.end()
            say("INFO", f"{len(records.done)} texts are in {args.output}")
            return 1 if batch.failed else 0
    finally:
        records.close()


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
        use_generation_config=not args.no_generation_config,
    )
    say("INFO", f"The model {args.model} is loaded to {args.device}")
    for line in _device_settings(generator):
        say("INFO", line)
    if generator.engine.fallback is not None:
        say("WARNING" if generator.engine.back_end.name == "recompute" else "INFO", generator.engine.fallback)
    return generator


def _device_config(args: argparse.Namespace) -> dict[str, Any]:
    from gpt2_text_prediction.engine.configuration import default_config, overridden  # noqa: PLC0415

    given: dict[str, Any] = {} if args.cache_dir is None else {"CACHE_DIR": str(_writable(args.cache_dir))}
    defaults = default_config(args.device, args.precision_hint, args.num_threads)
    return overridden(defaults, given | _given_properties(args))


def _given_properties(args: argparse.Namespace) -> dict[str, str]:
    """Return the properties of --config; raise Problem for one that is given in two ways."""
    flags = {
        "INFERENCE_PRECISION_HINT": ("--precision_hint", args.precision_hint),
        "INFERENCE_NUM_THREADS": ("-nthreads", args.num_threads),
        "CACHE_DIR": ("--cache_dir", args.cache_dir),
    }
    found: dict[str, str] = {}
    for pair in args.config or []:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise Problem(f"--config: expected KEY=VALUE, got {pair!r}")
        flag, other = flags.get(key, ("", None))
        if other is not None:
            raise Problem(f"--config {key}, {flag}: expected one of them")
        if found.setdefault(key, value) != value:
            raise Problem(f"--config {key}: expected one value, got {found[key]!r} and {value!r}")
    return found


def _writable(folder: Path) -> Path:
    """Return a folder, made if it is missing; OpenVINO would silently ignore one that it cannot use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Problem(f"--cache_dir: {folder}: cannot be made: {problem.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Problem(f"--cache_dir: {folder}: cannot be written: give another folder")
    return folder


def _device_settings(generator: "TextGenerator") -> Iterator[str]:
    """Yield the settings as the device reports them."""
    names = {"INFERENCE_NUM_THREADS": "Number of threads", "INFERENCE_PRECISION_HINT": "Inference precision"}
    if generator.engine.back_end.name != "recompute":  # which has no cache
        names["KV_CACHE_PRECISION"] = "KV cache precision"
    for name, words in names.items():
        value = generator.engine.property_of_device(name)
        if value is not None:
            yield f"\t{words}: {value}"

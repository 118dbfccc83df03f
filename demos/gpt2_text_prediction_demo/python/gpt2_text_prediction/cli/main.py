"""The demo's main program: from flags to a conversation, or to a file of results.

OpenVINO is imported only where it is needed, so that --help, a missing -m and Ctrl-C need not wait for it.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from gpt2_text_prediction.argument_types import require_arguments
from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.device import FORMS, device_config
from gpt2_text_prediction.cli.interrupt import raises
from gpt2_text_prediction.cli.prompts import (
    RawPrompt,
    count_lines,
    from_file,
    from_flags,
    from_pipe,
    lines_of,
    typed_bytes,
    unescaped,
)
from gpt2_text_prediction.cli.terminal import (
    draw,
    drop_typed_ahead,
    guarded,
    hide,
    log,
    say,
    set_up_stdout,
    typed_prompts,
    write,
)
from gpt2_text_prediction.engine.configuration import CACHE, GROUP, INFERENCE, DeviceConfig, has_bf16, is_short
from gpt2_text_prediction.engine.model_file import check_files, model_path
from gpt2_text_prediction.generation_config import ignored_names, read_generation_config
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings import SETTINGS

if TYPE_CHECKING:
    from gpt2_text_prediction.cli.conversation import Conversation
    from gpt2_text_prediction.engine.engine import ModelSpec
    from gpt2_text_prediction.generator import TextGenerator

MAX_COUNT = 1 << 31
MAX_PROMPTS_AT_ONCE = 1024
BYTES_PER_TOKEN = 4
"""Of English, about; the tokenizer is loaded later."""
ROWS = ("num_return_sequences", "num_beams", "max_new_tokens")
"""Settings that decide how many texts run, and how long they are."""
NO_MODEL = (
    "-m/--model is missing; these two commands make the embedded model, public/gpt-2-mini/FP16/gpt-2-mini.xml: "
    "omz_downloader --name gpt-2-mini && omz_converter --name gpt-2-mini"
)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code: 0, 1 for a problem, 2 for unusable arguments, 130 for Ctrl-C."""
    return guarded(lambda: _run(build_argparser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    if args.model is None:
        say("ERROR", NO_MODEL)
        return 2
    _check(args)
    hide(*["INFO"] * args.quiet)
    args.model = model_path(args.model)
    check_files(args.model)
    set_up_stdout()
    defaults = {} if args.no_generation_config else read_generation_config(args.model)
    given = _given(args, defaults)
    if args.output is not None:
        return _write_records(args, given, defaults)
    prompts = None if args.prompt_file is None else from_file(args.prompt_file)
    if args.input is not None:
        prompts = list(from_flags(args.input))
    _choose_seed(given)
    config = device_config(args, single_row=is_single_row(prompts, {**defaults, **given}))
    with _load(args, config, given["seed"], defaults) as generator, raises():
        return _talk(args, given, defaults, generator, prompts)


def _check(args: argparse.Namespace) -> None:
    """Raise Problem for flags that are out of range or contradict each other."""
    flags = {"max_sample_token_num": args.max_new_tokens, "num_threads": args.num_threads, "explain": args.explain}
    bounds = [(flag, count, MAX_COUNT - 1) for flag, count in flags.items()]
    for flag, count, most in [*bounds, ("num_infer_requests", args.num_infer_requests, MAX_PROMPTS_AT_ONCE)]:
        if count is not None and not 1 <= count <= most:
            raise Problem(f"--{flag}: expected a whole number from 1 to {most}, got {count}")
    if args.dynamic_shape and args.static_shape:
        raise Problem("--dynamic_shape, --static_shape: expected one of them")
    has_prompts = args.input is not None or args.prompt_file is not None
    if args.input is not None and args.prompt_file is not None:
        raise Problem("-i, --prompt_file: expected one of them")
    if (args.output is not None or args.loop) and not has_prompts:
        raise Problem(f"{'--loop' if args.loop else '-o'}: expected prompts: give -i or --prompt_file")
    unrecorded = {"--loop": args.loop, "--explain": args.explain is not None}
    unrecorded |= {"--no_echo": not args.echo, "-r": args.raw_output_message, "--omz_output": args.omz_output}
    for flag, is_given in unrecorded.items():
        if args.output is not None and is_given:
            raise Problem(f"-o, {flag}: expected one of them")
    require_arguments(logprobs=args.logprobs)
    if args.output is None and args.logprobs is not None:
        raise Problem("--logprobs: is for the records of -o, which was not given")
    if args.output is None and args.num_infer_requests is not None:
        raise Problem("-nireq: is for -o, which was not given: without it one prompt runs after the other")
    if args.interactive and has_prompts:
        raise Problem("--interactive: expected no -i and no --prompt_file: prompts are typed")


def _given(args: argparse.Namespace, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, by name, checked."""
    from gpt2_text_prediction.settings_by_name import make_settings, parse_setting  # noqa: PLC0415

    flags = {name: getattr(args, name) for name in SETTINGS}
    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    for name in {"stop", "bad_words"} & given.keys():
        texts = [typed_bytes(text).decode(errors="surrogateescape") for text in given[name]]
        given[name] = texts if args.no_escape else [_unescaped(name, text) for text in texts]
    for name in {"logit_bias", "early_stopping"} & given.keys():  # which argparse leaves as text
        texts = given[name] if isinstance(given[name], list) else [given[name]]
        given[name] = parse_setting(name, " ".join(texts))
    make_settings(given, defaults=defaults)
    return given


def _unescaped(name: str, text: str) -> str:
    try:
        return unescaped(text)
    except Problem as problem:
        raise Problem(f"--{name}: {problem}") from None


def _choose_seed(given: dict[str, Any]) -> None:
    given.setdefault("seed", int.from_bytes(os.urandom(4), "little"))


def _talk(
    args: argparse.Namespace,
    given: dict[str, Any],
    defaults: dict[str, Any],
    generator: "TextGenerator",
    prompts: list[RawPrompt] | None,
) -> int:
    from gpt2_text_prediction.cli.conversation import Conversation, Display  # noqa: PLC0415

    display = Display(args.echo, args.raw_output_message, args.explain, args.omz_output)
    talk = Conversation(generator, given, defaults, display, write, log)
    try:
        _answer(args, talk, prompts)
    except KeyboardInterrupt:
        talk.report()
        raise
    talk.report()
    return 1 if talk.failed else 0


def _answer(args: argparse.Namespace, talk: "Conversation", prompts: list[RawPrompt] | None) -> None:
    from gpt2_text_prediction.cli.interactive import SHORT_HELP, Interactive, completions  # noqa: PLC0415

    if prompts is not None:
        talk.answer_all(_repeated(prompts) if args.loop else prompts)
    elif sys.stdin is None:
        raise Problem("stdin is closed: give a prompt with -i")
    elif sys.stdin.isatty():
        log("INFO", SHORT_HELP)
        try:
            Interactive(talk, say, escapes=not args.no_escape).run(typed_prompts(completions))
        finally:
            drop_typed_ahead()
    elif args.interactive:
        log("INFO", SHORT_HELP)
        Interactive(talk, say, escapes=not args.no_escape).run(from_pipe(sys.stdin.buffer, continued=True))
    else:
        talk.answer_all(from_pipe(sys.stdin.buffer))


def _repeated(prompts: list[RawPrompt]) -> Iterator[RawPrompt]:
    """Repeat the prompts for ever, with numbers that go on, so that each turn draws other texts."""
    for number, prompt in enumerate(itertools.cycle(prompts), 1):
        yield prompt._replace(number=number)


def _write_records(args: argparse.Namespace, given: dict[str, Any], defaults: dict[str, Any]) -> int:
    from gpt2_text_prediction.cli.batch import Batch  # noqa: PLC0415
    from gpt2_text_prediction.cli.output_file import Records  # noqa: PLC0415
    from gpt2_text_prediction.cli.progress import Progress  # noqa: PLC0415
    from gpt2_text_prediction.cli.run_key import run_key  # noqa: PLC0415

    prompts, total = _prompts(args)
    config = device_config(args, single_row=False)
    records = Records(args.output, run_key(args, {**defaults, **given}, config.properties), given.get("seed"))
    try:
        if records.seed is not None:
            given["seed"] = records.seed
        _choose_seed(given)
        if args.precision_hint == "auto":  # the first run's, whatever this CPU would choose
            config = replace(config, properties={**records.properties, **config.properties})
        with _load(args, config, given["seed"], defaults) as generator, raises():
            records.begin(generator.engine.properties)
            if records.count:
                log("INFO", f"{records.count} texts are in {args.output} already")
            progress = Progress(total, "prompts", draw)

            def say_beside(level: str, line: str) -> None:
                progress.clear()
                log(level, line)

            batch = Batch(generator, given, defaults, records, say_beside, progress.step, logprobs=args.logprobs)
            progress.draw()
            try:
                batch.run(prompts, args.num_infer_requests or MAX_PROMPTS_AT_ONCE)
            finally:
                progress.clear()
            log("INFO", f"{records.count} texts are in {args.output}")
            return 1 if batch.failed else 0
    finally:
        records.close()


def _prompts(args: argparse.Namespace) -> tuple[Iterable[RawPrompt], int]:
    """Return the prompts, and how many there are; a file is read as they are taken, a pipe at once."""
    if args.input is None:
        total = count_lines(args.prompt_file, "--prompt_file", "prompt")
        if total:
            return lines_of(args.prompt_file, "--prompt_file", "prompt"), total
    found = from_file(args.prompt_file) if args.input is None else list(from_flags(args.input))
    return found, len(found)


def is_single_row(prompts: Sequence[RawPrompt] | None, settings: Mapping[str, Any]) -> bool:
    """Return whether one short text will run, and nothing beside it."""
    if prompts is None or len(prompts) != 1 or prompts[0].is_json:  # which may have settings of its own
        return False
    texts, beams, new_tokens = (int(settings.get(name, SETTINGS[name].default)) for name in ROWS)
    return texts == beams == 1 and is_short(len(prompts[0].raw) / BYTES_PER_TOKEN, new_tokens)


def _load(args: argparse.Namespace, config: DeviceConfig, seed: int, defaults: dict[str, Any]) -> "TextGenerator":
    import openvino as ov  # noqa: PLC0415

    from gpt2_text_prediction.engine.engine import read_spec  # noqa: PLC0415
    from gpt2_text_prediction.generator import TextGenerator  # noqa: PLC0415
    from gpt2_text_prediction.loading import Loading  # noqa: PLC0415

    spec = read_spec(args.model, config, args.max_seq_len)
    asked = _asked(spec, args.static_shape)
    words = ", ".join(FORMS[name].format(value) for name, value in asked.items())
    log("INFO", f"Seed: {seed}; {args.device}: {words or 'its own arithmetic'}")
    _say_defaults(args, defaults)
    log("INFO", "OpenVINO Runtime")
    log("INFO", f"\tbuild: {ov.get_version()}")
    log("INFO", f"Reading model {args.model}")
    back_end: Literal["static"] | None = "static" if args.static_shape else None
    own = not args.no_generation_config
    loading = Loading(vocab=args.vocab, merges=args.merges, back_end=back_end, use_generation_config=own)
    generator = TextGenerator.of(spec, loading)
    log("INFO", f"The model {args.model} is loaded to {args.device}")
    for line in _device_settings(generator, asked):
        log("INFO", f"\t{line}")
    if spec.ir.random_weights:
        log("WARNING", "the model's weights are random: its texts mean nothing")
    if generator.engine.properties.get(INFERENCE) == "bf16" and not has_bf16(spec.core):
        log("WARNING", "this CPU has no instructions for bf16 and emulates them, many times slower")
    if generator.engine.fallback is not None:
        log("WARNING" if generator.engine.back_end.name == "recompute" else "INFO", generator.engine.fallback)
    return generator


def _asked(spec: "ModelSpec", static_shape: bool) -> dict[str, str]:
    """Return the properties that a text depends on beside its seed, as the device is asked for them."""
    behind = spec.config.get("DEVICE_PROPERTIES")  # a text, where the user gives it
    asked = (behind["CPU"] if isinstance(behind, Mapping) else {}) | spec.config
    counts = {INFERENCE: True, CACHE: spec.has_cache and not static_shape, GROUP: spec.weights.is_quantized}
    return {name: str(asked[name]) for name in FORMS if counts[name] and name in asked}


def _say_defaults(args: argparse.Namespace, defaults: dict[str, Any]) -> None:
    """Say the settings of the generation_config.json beside the model."""
    if ignored := [] if args.no_generation_config else ignored_names(args.model):
        log("WARNING", f"not used of the model's generation_config.json: {', '.join(ignored)}")
    if defaults:
        values = ", ".join(f"{name} {value}" for name, value in defaults.items())
        log("INFO", f"Defaults of the model's generation_config.json (--no_generation_config ignores them): {values}")


def _device_settings(generator: "TextGenerator", asked: Mapping[str, str]) -> Iterator[str]:
    """Yield the settings that the device reports, but for those that it was asked for and has been said."""
    threads = generator.engine.property_of_device("INFERENCE_NUM_THREADS")
    if threads is not None:
        yield f"Number of threads: {threads}"
    for name, value in generator.engine.properties.items():
        if asked.get(name) != value:
            words = FORMS[name].format(value)
            yield words[0].upper() + words[1:]

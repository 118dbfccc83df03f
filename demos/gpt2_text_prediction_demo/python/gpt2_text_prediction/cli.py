"""The demo's command line: the text goes to stdout, all talk to stderr. It computes nothing.

OpenVINO is imported only where it is needed, so that --help, a missing -m and Ctrl-C need not wait for it.
"""

import argparse
import codecs
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpt2_text_prediction.arguments import build_argparser
from gpt2_text_prediction.metrics import Metrics
from gpt2_text_prediction.problem import Problem

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import Stream, TextGenerator
    from gpt2_text_prediction.sampling import Sampling

MOST = 1 << 31
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
PIPE_CLOSED = 141  # 128 + SIGPIPE
NO_MODEL = (
    "-m/--model is missing; these two commands make the embedded model, public/gpt-2-mini/FP16/gpt-2-mini.xml: "
    "omz_downloader --name gpt-2-mini && omz_converter --name gpt-2-mini"
)
ASK = "Type input prompt (empty string to exit):"
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code: 0, 1 for a problem, 2 for unusable arguments, 130 for Ctrl-C."""
    if sys.stderr is None:  # closed: print would talk to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
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


def _run(args: argparse.Namespace) -> int:
    if args.model is None:
        say("ERROR", NO_MODEL)
        return 2
    for flag in ("max_sample_token_num", "num_threads"):
        if (count := getattr(args, flag)) is not None and not 1 <= count < MOST:
            raise Problem(f"--{flag}: expected a whole number from 1, got {count}")
    _set_up_stdout()
    with _ctrl_c_ends_at_once():
        sampling = _sampling(args)
        generator = _load(args)
    with generator:
        talk = Conversation(generator, sampling, args.max_sample_token_num)
        try:
            talk.answer_all(_prompts(args))
        except KeyboardInterrupt:
            talk.report()
            raise
        talk.report()
    return 1 if talk.failed else 0


@contextmanager
def _ctrl_c_ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process while OpenVINO is loaded: a C extension's initialisation loses the exception."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Conversation:
    """Answers prompts one after another; `failed` tells whether one of them could not be answered."""

    def __init__(self, generator: "TextGenerator", sampling: "Sampling", max_new_tokens: int) -> None:
        self.failed = False
        self._generator = generator
        self._sampling = sampling
        self._max_new_tokens = max_new_tokens
        self._metrics = Metrics()
        self._answers = 0

    def answer_all(self, prompts: Iterable[tuple[str, bytes]]) -> None:
        """Answer every (name, UTF-8 text); a prompt that cannot be answered does not keep the others from it."""
        for index, (name, raw) in enumerate(prompts):
            try:
                prompt = _text(raw)
                stream = self._generator.stream(
                    prompt, self._sampling, max_new_tokens=self._max_new_tokens, index=(index, 0)
                )
                self._write_answer(prompt, stream)
            except Problem as problem:
                self.failed = True
                say("ERROR", f"{name}: {problem}")

    def report(self) -> None:
        """Say what it took."""
        for line in self._metrics.report():
            say("INFO", line)

    def _write_answer(self, prompt: str, stream: "Stream") -> None:
        _write("\n" * bool(self._answers) + prompt)
        self._answers += 1
        try:
            for piece in stream:
                _write(piece)
        finally:
            _write("\n")
            self._metrics.add(stream.times)
        say("INFO", f"{len(stream.tokens)} tokens, finish reason: {stream.finish_reason}")
        if stream.out_of_positions:
            total = len(stream.prompt_tokens) + len(stream.tokens)
            say(
                "WARNING",
                f"stopped at {total} tokens: there is no more room in the model's positions or --max_seq_len",
            )


def _prompts(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """Return the prompts with the name that an error calls each by: from -i, the terminal, or a pipe."""
    if args.input is not None:
        return ((f"prompt {n}", os.fsencode(text)) for n, text in enumerate(args.input, 1))
    if sys.stdin is None:
        raise Problem("stdin is closed: give a prompt with -i")
    return _asked() if sys.stdin.isatty() else _piped()


def _asked() -> Iterator[tuple[str, bytes]]:
    while True:
        print(ASK, end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line.strip():
            if not line:  # end of input leaves the cursor behind the question
                print(file=sys.stderr)
            return
        yield "the prompt", line.rstrip(b"\r\n")


def _piped() -> Iterator[tuple[str, bytes]]:
    try:
        for n, line in enumerate(sys.stdin.buffer, 1):
            text = line.removeprefix(codecs.BOM_UTF8) if n == 1 else line
            if text.strip():
                yield f"line {n}", text.rstrip(b"\r\n")
    except OSError as problem:
        raise Problem(f"stdin: cannot be read: {problem.strerror}") from None


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as problem:
        raise Problem(f"expected UTF-8, got the byte 0x{raw[problem.start]:02x} at byte {problem.start + 1}") from None
    if not text.strip():
        raise Problem("is blank: give it some text")
    if found := CONTROL_CHARACTER.search(text):
        raise Problem(f"holds the control character U+{ord(found[0]):04X} at character {found.start() + 1}: remove it")
    return text


def _sampling(args: argparse.Namespace) -> "Sampling":
    from gpt2_text_prediction.sampling import Sampling  # noqa: PLC0415

    seed = int.from_bytes(os.urandom(4), "little") if args.seed is None else args.seed
    sampling = Sampling(args.temperature, args.top_k, args.top_p, seed)
    say("INFO", f"Seed: {sampling.seed}")
    return sampling


def _load(args: argparse.Namespace) -> "TextGenerator":
    import openvino as ov  # noqa: PLC0415

    from gpt2_text_prediction.generator import TextGenerator, configuration  # noqa: PLC0415

    say("INFO", "OpenVINO Runtime")
    say("INFO", f"\tbuild: {ov.get_version()}")
    say("INFO", f"Reading model {args.model}")
    generator = TextGenerator(
        args.model,
        vocab=args.vocab,
        merges=args.merges,
        device=args.device,
        config=configuration(args.device, args.precision_hint, args.num_threads),
        max_seq_len=args.max_seq_len,
    )
    say("INFO", f"The model {args.model} is loaded to {args.device}")
    for line in _as_loaded(generator):
        say("INFO", line)
    if generator.engine.back_end.name == "recompute":
        say("WARNING", "this model cannot be given a key/value cache: each token computes the whole text again")
    return generator


def _as_loaded(generator: "TextGenerator") -> Iterator[str]:
    """Say what the device made of the settings, as far as it tells."""
    names = {
        "INFERENCE_NUM_THREADS": "Number of threads",
        "INFERENCE_PRECISION_HINT": "Inference precision",
        "KV_CACHE_PRECISION": "KV cache precision",
    }
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

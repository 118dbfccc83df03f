"""Answers prompts one after another: text is written as it is generated, everything else is logged."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2_text_prediction.cli.explain import explain
from gpt2_text_prediction.cli.metrics import Metrics
from gpt2_text_prediction.cli.prompts import SPACE_AT_END, RawPrompt, read_prompt
from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings_by_name import Settings, make_settings

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator
    from gpt2_text_prediction.stream import Stream


@dataclass(frozen=True)
class Display:
    """What is shown beside the continuation: the prompt before it, token ids, a table of n candidates per token.

    omz: texts are written when they are finished, as Open Model Zoo's demo writes them.
    """

    echo: bool = True
    ids: bool = False
    candidates: int | None = None
    omz: bool = False


class Answer(NamedTuple):
    """A prompt and a text that was generated from it, whole or as far as it came."""

    prompt: str
    text: str


class Conversation:
    """`failed`: whether a prompt could not be answered; `given`: the settings, which may change between prompts.

    `defaults`: the model's own settings, where none are given.
    """

    def __init__(
        self,
        generator: "TextGenerator",
        given: dict[str, Any],
        defaults: dict[str, Any],
        display: Display,
        write: Callable[[str], None],
        say: Callable[[str, str], None],
    ) -> None:
        self.failed = False
        self.given = given
        self.defaults = defaults
        self.answers: list[Answer] = []
        self._generator = generator
        self._display = display
        self._write_text, self._say = write, say
        self._metrics = Metrics()
        self._written = 0
        self._echo = display.echo

    def answer_all(self, prompts: Iterable[RawPrompt]) -> None:
        """Answer every prompt; one that cannot be answered does not stop the others."""
        for prompt in prompts:
            self.answer(prompt)
            self.answers.clear()  # only a conversation needs them, and there may be prompts for ever

    def answer(self, raw: RawPrompt) -> None:
        """Answer a prompt, or say why not."""
        try:
            prompt = read_prompt(raw)
            if prompt.logprobs is not None:
                raise Problem("logprobs: are for the records of -o, which was not given")
            self.continue_prompt(prompt.text, raw.number - 1, prompt.own)
        except Problem as problem:
            self.failed = True
            self._say("ERROR", f"{raw.name}: {problem}")

    def continue_prompt(self, prompt: str, index: int, own: Mapping[str, Any], *, echo: bool = True) -> None:
        """Write the continuations of a prompt; own: its own settings; echo: the prompt too, where that is shown at all.

        Raises Problem where there can be none.
        """
        self._echo = echo and self._display.echo
        settings = make_settings({**self.given, **own}, self._generator.tokenizer.encode, self.defaults)
        if prompt.endswith(" "):
            self._say("INFO", SPACE_AT_END)
        if isinstance(settings.how, Beams):
            self._search(prompt, settings)
            return
        for sample in range(settings.num_return_sequences):
            with self._generator.stream(prompt, **settings.arguments(), logprobs=None, index=(index, sample)) as stream:
                self._stream(prompt, stream)
            if settings.how.seed is None:  # drawn for this text; so that it can be given
                self._say("INFO", f"Seed: {stream.seed}")
            self._say_cut(prompt, stream.cut)
            self._say_overflow(stream, settings)
            self._debug(stream.prompt_tokens, stream.tokens)
            self._explain(stream.prompt_tokens, stream.tokens, settings.how)

    def report(self) -> None:
        """Log the metrics."""
        for line in self._metrics.report():
            self._say("INFO", line)

    def _begin(self, prompt: str) -> None:
        if not self._display.omz:
            self._write_text("\n" * bool(self._written) + prompt * self._echo)
        self._written += 1

    def _write_piece(self, piece: str) -> None:
        if not self._display.omz:
            self._write_text(piece)

    def _end(self, answer: Answer) -> None:
        self.answers.append(answer)
        whole = "".join(answer) if self._echo else answer.text
        self._write_text(f"[ INFO ] GENERATED SEQUENCE: {whole}\n" if self._display.omz else "\n")

    def _stream(self, prompt: str, stream: "Stream") -> None:
        self._begin(prompt)
        pieces = []
        try:
            for piece in stream:
                pieces.append(piece)
                self._write_piece(piece)
        finally:
            self._end(Answer(prompt, "".join(pieces)))
            self._metrics.add(stream.times)
        self._say("INFO", f"{len(stream.tokens)} tokens, finish reason: {stream.finish_reason}")

    def _search(self, prompt: str, settings: Settings) -> None:
        if self._display.candidates is not None:
            raise Problem(
                "num_beams, explain: beam search does not sample, so there is nothing to explain: leave one out"
            )
        found = self._generator.generate(prompt, **settings.arguments())
        for beam in found:
            self._begin(prompt)
            self._write_piece(beam.text)
            self._end(Answer(prompt, beam.text))
            reason = f"finish reason: {beam.finish_reason}, score: {beam.score:.4f}"
            self._say("INFO", f"{len(beam.tokens)} tokens, {reason}")
            self._debug(beam.prompt_tokens, beam.tokens)
        self._say_cut(prompt, found[0].cut if found else 0)

    def _say_cut(self, prompt: str, cut: int) -> None:
        if cut:
            self._say(
                "WARNING",
                f"the first {cut} of the prompt's {len(prompt)} characters were cut to leave room for max_new_tokens",
            )

    def _say_overflow(self, stream: "Stream", settings: Settings) -> None:
        total, most = len(stream.prompt_tokens) + len(stream.tokens), self._generator.engine.n_positions
        if settings.rules.context_overflow == "slide" and total > most + 1:
            cost = f"each time they were full, the last {most // 2} tokens were computed again"
            self._say("WARNING", f"went on past the {most} positions of the model or of --max_seq_len: {cost}")
        elif stream.out_of_positions and len(stream.tokens) < settings.max_new_tokens:
            self._say(
                "WARNING",
                f"stopped at {total} tokens: there is no more room in the model's positions or --max_seq_len",
            )

    def _debug(self, prompt: list[int], tokens: list[int]) -> None:
        if self._display.ids:
            self._say("DEBUG", f"prompt tokens: {prompt}")
            self._say("DEBUG", f"new tokens: {tokens}")

    def _explain(self, prompt: list[int], tokens: list[int], sampling: Sampling) -> None:
        if self._display.candidates is None:
            return
        lines = explain(self._generator, prompt, tokens, sampling, self._display.candidates)
        if tokens and not lines:
            self._say("WARNING", "--explain: this text went on past the model's positions, which has no table")
        for line in lines:
            self._say("DEBUG", f"\t{line}")

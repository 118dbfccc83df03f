"""Runs prompts and their samples together into a file of records; those in the file already are not run again."""

import secrets
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.answers import Call, Reading, Sample, Search
from gpt2_text_prediction.cli.output_file import Records
from gpt2_text_prediction.cli.prompts import LOGPROBS, SPACE_AT_END, RawPrompt, read_prompt
from gpt2_text_prediction.engine.scheduler import MAX_NUM_SEQS, raise_error
from gpt2_text_prediction.generation.beam_search import BeamRequest, Beams
from gpt2_text_prediction.generation.request import GenerateRequest
from gpt2_text_prediction.input_processor import ProcessedPrompt
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.results import Result, TokenEvent
from gpt2_text_prediction.settings import SETTINGS
from gpt2_text_prediction.settings_by_name import make_settings

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator

MAX_SUBMITTED = 2 * MAX_NUM_SEQS
"""Most texts that run or wait for a place; those that wait take the places of all that end in one step."""
MAX_UNWRITTEN = 1024
"""Most texts that are begun and not written: they are written in order, and one may be longer than many after it."""

Request: TypeAlias = GenerateRequest | BeamRequest
Record: TypeAlias = dict[str, Any]


@dataclass(eq=False)
class _Text:
    """A sample of a prompt, or all its beams. found: when it has ended, its records, or why there are none."""

    prompt: "_Prompt"
    found: list[Record] | Problem | None = None


class _Begun(NamedTuple):
    """A text, its request, and what makes its records when that has ended."""

    text: _Text
    request: Request
    records: Callable[[], list[Record]]


class _Prompt:
    """A prompt that is being answered. left: how many of its texts are to be written; has_failed: no more are."""

    def __init__(
        self,
        raw: RawPrompt,
        text: str,
        shared: Record,
        processed: ProcessedPrompt,
        samples: npt.NDArray[np.int64],
        call: Call,
    ) -> None:
        self.raw, self.has_failed = raw, False
        is_search = isinstance(processed.how, Beams)
        self.left = 1 if is_search else len(samples)
        self._text, self._shared, self._samples = text, shared, samples
        self._clock = call.clock
        self._reading = Reading(call, raw.number - 1, processed, self.left)

    def samples(self, put: Callable[[GenerateRequest], None]) -> Iterator[_Begun]:
        """Begin the samples that are left, one after the other; put gets each request when it has ended."""
        for number in self._samples:
            if self.has_failed:
                return
            yield self._sample(int(number), put)

    def _sample(self, number: int, put: Callable[[GenerateRequest], None]) -> _Begun:
        start = self._clock()
        events: list[TokenEvent] = []
        sample = Sample(self._reading, number, events.append, put, can_wait=True)

        def records() -> list[Record]:
            result = sample.result(events)
            times = [start, *(event.time for event in events)]
            seconds = {
                "seconds_to_first_token": round(times[min(1, len(times) - 1)] - start, 6),
                "seconds": round(times[-1] - start, 6),
            }
            return [self._record(number, result) | {"seed": result.seed} | seconds]

        return _Begun(_Text(self), sample.request, records)

    def beams(self, put: Callable[[BeamRequest], None]) -> Iterator[_Begun]:
        """Begin the search, as samples; there may be fewer beams than are left."""
        start = self._clock()
        search = Search(self._reading, lambda _: None, put)

        def records() -> list[Record]:
            seconds = round(self._clock() - start, 6)
            left = set(self._samples.tolist())
            found = [(number, beam) for number, beam in enumerate(search.results()) if number in left]
            return [
                self._record(number, beam) | {"score": beam.score, "seed": None, "seconds": seconds}
                for number, beam in found
            ]

        yield _Begun(_Text(self), search.request, records)

    def _record(self, number: int, result: Result) -> Record:
        record = {
            **self._shared,
            "sample": number + 1,
            "prompt": self._text,
            "text": result.text,
            "tokens": result.tokens,
            "finish_reason": result.finish_reason,
        }
        if self._reading.call.logprobs is not None:
            told = result.to_dict()
            record |= {name: told[name] for name in ("logprobs", "top_logprobs", "text_offsets")}
        return record


class Batch:
    """One run of prompts. `failed`: whether a prompt could not be answered.

    progress: called for each prompt that is done with, with whether it was answered now. logprobs: of prompts that do
    not say, as in TextGenerator.generate.
    """

    def __init__(  # noqa: PLR0913  # what main has made, one after the other
        self,
        generator: "TextGenerator",
        given: dict[str, Any],
        defaults: dict[str, Any],
        records: Records,
        say: Callable[[str, str], None],
        progress: Callable[[bool], None],
        *,
        logprobs: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.failed = False
        self._scheduler, self._inputs = generator.scheduler, generator.input_processor
        self._given, self._defaults = given, defaults
        self._records = records
        self._say, self._progress = say, progress
        self._call = Call(logprobs, None, None, generator.engine.properties, secrets.randbits(32), clock)
        self._ended: SimpleQueue[Request] = SimpleQueue()
        self._submitted: dict[Request, _Begun] = {}  # those that have not ended
        self._unwritten: deque[_Text] = deque()  # in order
        self._next: Iterator[_Begun] = iter(())  # of one prompt, begun as they are taken
        self._has_hinted = False

    def run(self, prompts: Iterable[RawPrompt], at_once: int = MAX_SUBMITTED) -> None:
        """Answer the prompts that are not answered yet, and write a record of each text, in their order.

        prompts: read as there is room for them. at_once: how many run at the same time at most.
        """
        raws = iter(prompts)
        group = self._scheduler.submit([])
        try:
            while True:
                self._scheduler.submit([each.request for each in self._begin(raws, at_once)], group)
                if not self._submitted:
                    return
                self._take(self._ended.get())
                while not self._ended.empty():
                    self._take(self._ended.get())
                self._write()
        finally:
            self._scheduler.cancel(group)

    def _begin(self, raws: Iterator[RawPrompt], at_once: int) -> Iterator[_Begun]:
        """Yield the next texts, as many as there is room for."""
        while len(self._submitted) < MAX_SUBMITTED and len(self._unwritten) < MAX_UNWRITTEN:
            if (begun := next(self._next, None)) is not None:
                self._submitted[begun.request] = begun
                self._unwritten.append(begun.text)
                yield begun
                continue
            running = {id(each.text.prompt) for each in self._submitted.values()}
            if len(running) >= at_once or (raw := next(raws, None)) is None:
                return
            try:
                self._next = self._texts(raw)
            except Problem as problem:
                self._fail(raw, problem)

    def _texts(self, raw: RawPrompt) -> Iterator[_Begun]:
        """Return the texts of a prompt that the file does not have. Raises Problem where it cannot be answered."""
        prompt, own, logprobs, carried = read_prompt(raw)
        noted = own if logprobs is None else own | {LOGPROBS: logprobs}
        there = self._records.samples_of(raw.number, prompt, noted, carried)
        if self._are_all(there, own):
            self._progress(False)
            return iter(())
        settings = make_settings({**self._given, **own}, self._inputs.tokenizer.encode, self._defaults)
        processed = self._inputs.process(prompt, settings.how, settings.max_new_tokens, settings.rules)
        if prompt.endswith(" ") and not self._has_hinted:
            self._has_hinted = True
            self._say("INFO", f"{raw.name}: {SPACE_AT_END}")
        left = np.setdiff1d(np.arange(settings.num_return_sequences), np.array(there, np.int64) - 1)
        shared = {**carried, "run_seed": self._given["seed"], "prompt_number": raw.number, "settings": noted}
        call = self._call if logprobs is None else replace(self._call, logprobs=logprobs)
        asked = _Prompt(raw, prompt, shared, processed, left, call)
        return asked.beams(self._ended.put) if isinstance(settings.how, Beams) else asked.samples(self._ended.put)

    def _are_all(self, there: Sequence[int], own: dict[str, Any]) -> bool:
        """Return whether the file has all samples of a prompt; its settings, which take longer, are not made."""
        name = "num_return_sequences"
        number = {**self._defaults, **self._given, **own}.get(name, SETTINGS[name].default)
        return len(there) > 0 and bisect_right(there, number) - bisect_left(there, 1) == number

    def _take(self, request: Request) -> None:
        """Take note of a request that has ended. Raises what ended it, but for a Problem, which is its text's."""
        begun = self._submitted.pop(request)
        if isinstance(request.error, Problem):
            begun.text.found = request.error
        else:
            raise_error(request)
            begun.text.found = begun.records()

    def _write(self) -> None:
        """Write the texts that have ended, up to the first that has not; one that has failed ends its prompt."""
        records: list[Record] = []
        answered = 0
        while self._unwritten and (self._unwritten[0].found is not None or self._unwritten[0].prompt.has_failed):
            text = self._unwritten.popleft()
            prompt = text.prompt
            if prompt.has_failed:
                continue
            if isinstance(text.found, Problem):
                prompt.has_failed = True
                self._fail(prompt.raw, text.found)
            else:
                records += text.found or ()
                prompt.left -= 1
                answered += not prompt.left
        if records:
            self._records.add(records)
        for _ in range(answered):
            self._progress(True)

    def _fail(self, raw: RawPrompt, problem: Problem) -> None:
        self.failed = True
        self._say("ERROR", f"{raw.name}: {problem}")
        self._progress(True)

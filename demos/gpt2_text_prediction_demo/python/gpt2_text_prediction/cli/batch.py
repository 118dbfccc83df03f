"""Runs many prompts at a time into a file of records; those in the file already are not run again."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from gpt2_text_prediction.cli.output_file import Records
from gpt2_text_prediction.cli.prompts import RawPrompt, read_prompt
from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings_by_name import Settings, make_settings

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator

Found: TypeAlias = dict[str, Any] | str | None
"""A record, an error message, or the end of a prompt's."""


class Batch:
    """`failed`: whether a prompt could not be answered."""

    def __init__(
        self,
        generator: "TextGenerator",
        given: dict[str, Any],
        defaults: dict[str, Any],
        records: Records,
        say: Callable[[str, str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.failed = False
        self._generator = generator
        self._given, self._defaults = given, defaults
        self._records = records
        self._say = say
        self._clock = clock

    def run(self, prompts: Sequence[RawPrompt], at_once: int, progress: Callable[[bool], None]) -> None:
        """Answer the prompts that are not answered yet, and write a record of each text, in their order.

        progress: called for each prompt, with whether it was answered now. An error or Ctrl-C closes the generator.
        """
        with ThreadPoolExecutor(at_once) as pool:
            try:
                for found, answer in [self._begin(pool, prompt) for prompt in prompts]:
                    is_new = False
                    while (one := found.get()) is not None:
                        self._keep(one)
                        is_new = True
                    answer.result()  # raises what is no Problem of the prompt's
                    progress(is_new)
            except BaseException:
                self._generator.close()  # running requests end before their next step
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _begin(self, pool: ThreadPoolExecutor, raw: RawPrompt) -> tuple[SimpleQueue[Found], Future[None]]:
        found: SimpleQueue[Found] = SimpleQueue()
        return found, pool.submit(self._answer, raw, found.put)

    def _keep(self, found: dict[str, Any] | str) -> None:
        if isinstance(found, str):
            self.failed = True
            self._say("ERROR", found)
            return
        self._records.add(found)

    def _answer(self, raw: RawPrompt, put: Callable[[Found], None]) -> None:
        """Put a prompt's new records as they come, or an error message, and then None."""
        try:
            prompt, own = read_prompt(raw)
            settings = make_settings({**self._given, **own}, self._generator.tokenizer.encode, self._defaults)
            texts = range(settings.num_return_sequences)
            left = (n for n in texts if not self._is_done(raw, n, prompt, own))
            for record in self._texts(raw.number, prompt, settings, left):
                put({"run_seed": self._given["seed"], "prompt_number": raw.number, "settings": own, **record})
        except Problem as problem:
            put(f"{raw.name}: {problem}")
        finally:
            put(None)

    def _is_done(self, raw: RawPrompt, sample: int, prompt: str, own: dict[str, Any]) -> bool:
        record = self._records.done.get((raw.number, sample + 1))
        if record is None:
            return False
        if record["prompt"] != prompt:
            raise Problem("is another prompt than the one in the output file: give another file with -o")
        if changed := _differing_names(record["settings"], own):
            raise Problem(f"{changed[0]}: is another than in the output file: give another file with -o")
        return True

    def _texts(self, number: int, prompt: str, settings: Settings, samples: Iterator[int]) -> Iterator[dict[str, Any]]:
        if isinstance(settings.how, Beams):
            yield from self._beams(prompt, settings, list(samples))
            return
        for sample in samples:
            index = number - 1, sample
            stream = self._generator.stream(
                prompt, **settings.arguments(), logprobs=None, index=index, clock=self._clock
            )
            text = "".join(stream)
            first, last = stream.times[min(1, len(stream.times) - 1)], stream.times[-1]
            yield {
                "sample": sample + 1,
                "prompt": prompt,
                "text": text,
                "tokens": stream.tokens,
                "finish_reason": stream.finish_reason,
                "seed": stream.seed,
                "seconds_to_first_token": round(first - stream.times[0], 6),
                "seconds": round(last - stream.times[0], 6),
            }

    def _beams(self, prompt: str, settings: Settings, samples: list[int]) -> Iterator[dict[str, Any]]:
        start = self._clock()
        found = self._generator.generate(prompt, **settings.arguments())
        seconds = round(self._clock() - start, 6)
        for sample in [sample for sample in samples if sample < len(found)]:
            beam = found[sample]
            yield {
                "sample": sample + 1,
                "prompt": prompt,
                "text": beam.text,
                "tokens": beam.tokens,
                "finish_reason": beam.finish_reason,
                "score": beam.score,
                "seed": None,
                "seconds": seconds,
            }


def _differing_names(settings: dict[str, Any], others: dict[str, Any]) -> list[str]:
    names = sorted(settings.keys() | others.keys())
    return [name for name in names if settings.get(name) != others.get(name)]

"""Many prompts into a file of records, several at a time; what is in the file already is not done again."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gpt2_text_prediction.cli.output_file import Records
from gpt2_text_prediction.cli.prompts import Asked, read_prompt
from gpt2_text_prediction.cli.settings import Settings, make_settings
from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.problem import Problem

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator


class Batch:
    """`failed` tells whether a prompt could not be answered."""

    def __init__(
        self,
        generator: "TextGenerator",
        given: dict[str, Any],
        records: Records,
        say: Callable[[str, str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.failed = False
        self._generator = generator
        self._given = given
        self._records = records
        self._say = say
        self._clock = clock

    def run(self, prompts: Sequence[Asked], at_once: int, progress: Callable[[bool], None]) -> None:
        """Answer the prompts that are not answered yet, and write a record of each text, in their order.

        progress: is told of each prompt, and whether it was answered now. An error or Ctrl-C closes the generator.
        """
        with ThreadPoolExecutor(at_once) as pool:
            try:
                for found in pool.map(self._answer, prompts):
                    self._keep(found)
                    progress(bool(found))
            except BaseException:
                self._generator.close()  # those that run end before their next step
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _keep(self, found: list[dict[str, Any]] | str) -> None:
        if isinstance(found, str):
            self.failed = True
            self._say("ERROR", found)
            return
        for record in found:
            self._records.add(record)

    def _answer(self, asked: Asked) -> list[dict[str, Any]] | str:
        """Return a prompt's new records, or what is wrong with it."""
        try:
            prompt, own = read_prompt(asked)
            settings = make_settings({**self._given, **own}, self._generator.tokenizer.encode)
            left = [n for n in range(settings.samples) if not self._is_done(asked, n, prompt)]
            return [
                {"run_seed": self._given["seed"], "prompt_number": asked.number, **one}
                for one in self._texts(asked, prompt, settings, left)
            ]
        except Problem as problem:
            return f"{asked.name}: {problem}"

    def _is_done(self, asked: Asked, sample: int, prompt: str) -> bool:
        record = self._records.done.get((asked.number, sample + 1))
        if record is not None and record["prompt"] != prompt:
            raise Problem("is another prompt than the one in the output file: give another file with -o")
        return record is not None

    def _texts(self, asked: Asked, prompt: str, settings: Settings, samples: list[int]) -> Iterator[dict[str, Any]]:
        if isinstance(settings.how, Beams):
            yield from self._beams(prompt, settings, settings.how, samples)
            return
        for sample in samples:
            stream = self._generator.stream(
                prompt,
                settings.how,
                max_new_tokens=settings.max_new_tokens,
                rules=settings.rules,
                index=(asked.number - 1, sample),
                clock=self._clock,
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

    def _beams(self, prompt: str, settings: Settings, beams: Beams, samples: list[int]) -> Iterator[dict[str, Any]]:
        start = self._clock()
        found = self._generator.beam_search(prompt, beams, max_new_tokens=settings.max_new_tokens, rules=settings.rules)
        seconds = round(self._clock() - start, 6)
        for sample in [sample for sample in samples if sample < len(found)]:
            one = found[sample]
            yield {
                "sample": sample + 1,
                "prompt": prompt,
                "text": one.text,
                "tokens": one.tokens,
                "finish_reason": one.finish_reason,
                "score": one.score,
                "seed": None,
                "seconds": seconds,
            }

"""batch: records are the streams' texts, in order; samples share a prompt, prompts a step; little is held at once."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpt2_text_prediction import Problem, TextGenerator
from gpt2_text_prediction.cli.batch import MAX_SUBMITTED, MAX_UNWRITTEN, Batch
from gpt2_text_prediction.cli.output_file import Records
from gpt2_text_prediction.cli.prompts import RawPrompt
from gpt2_text_prediction.cli.run_key import PARTS
from gpt2_text_prediction.engine.scheduler import MAX_NUM_SEQS, Scheduler
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=130, seed=4)
GIVEN = {"seed": 7, "max_new_tokens": 6, "num_return_sequences": 3, "ignore_eos": True}


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with TextGenerator(TOY.ir(tmp_path_factory.mktemp("toy")), config=ONE_THREAD, prompt_lookup=False) as loaded:
        yield loaded


class Counting:
    """An engine that notes how many tokens of each sequence a step has; error: raised in place of that step."""

    def __init__(self, engine) -> None:
        self._engine = engine
        self.steps: list[list[int]] = []
        self.error: tuple[int, Exception] | None = None

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    def step(self, rows):
        self.steps.append([len(row.tokens) for row in rows])
        if self.error is not None and len(self.steps) == self.error[0]:
            raise self.error[1]
        return self._engine.step(rows)


class Run:
    """What a batch does with prompts, each a text or an object of a .jsonl file."""

    def __init__(self, generator: TextGenerator, path: Path, given: dict | None = None) -> None:
        self.path, self.given = path, given or GIVEN
        self.log: list[tuple[str, str]] = []
        self.progress: list[bool] = []
        self.engine = Counting(generator.engine)
        self.most_unwritten = 0
        self._generator = SimpleNamespace(
            scheduler=Scheduler(self.engine), input_processor=generator.input_processor, engine=generator.engine
        )

    def run(self, prompts: Iterable[str | dict], **more) -> bool:
        """Return whether a prompt could not be answered."""
        records = Records(self.path, dict.fromkeys(PARTS, "x"))
        records.begin({})

        def raws():
            for n, prompt in enumerate(prompts, 1):
                self.most_unwritten = max(self.most_unwritten, n - records.count)
                yield RawPrompt(n, f"line {n}", json.dumps(in_json(prompt)).encode(), is_json=True)

        def say(*line: str) -> None:
            self.log.append(line)

        batch = Batch(self._generator, self.given, {}, records, say, self.progress.append, clock=lambda: 0.0)
        try:
            batch.run(raws(), **more)
        finally:
            records.close()
        return batch.failed

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


def in_json(prompt: str | dict) -> dict:
    return {"prompt": prompt} if isinstance(prompt, str) else prompt


def test_records_are_the_streams_of_their_indices_in_order(generator, tmp_path):
    prompts = [
        "the rat",
        {"prompt": "one", "num_return_sequences": 1, "max_new_tokens": 100},
        {"prompt": "the hen", "seed": 3, "temperature": 0.5, "num_return_sequences": 70},
        {"prompt": "none", "num_return_sequences": 1, "max_new_tokens": 0},
    ]
    run = Run(generator, tmp_path / "out.jsonl")
    assert run.run(prompts) is False
    rest = iter(run.records())
    for number, prompt in enumerate(map(in_json, prompts)):
        own = {name: value for name, value in prompt.items() if name != "prompt"}
        settings = {**GIVEN, **own}
        for sample in range(settings.pop("num_return_sequences")):
            stream = generator.stream(prompt["prompt"], **settings, index=(number, sample))
            assert next(rest) == {
                "run": dict.fromkeys(PARTS, "x"),
                "properties": {},
                "run_seed": 7,
                "prompt_number": number + 1,
                "settings": own,
                "sample": sample + 1,
                "prompt": prompt["prompt"],
                "text": "".join(stream),
                "tokens": stream.tokens,
                "finish_reason": stream.finish_reason,
                "seed": settings["seed"],
                "seconds_to_first_token": 0.0,
                "seconds": 0.0,
            }
    assert (next(rest, None), run.log, run.progress) == (None, [], [True] * 4)


def test_beams_are_those_of_generate_and_may_be_fewer(generator, tmp_path):
    beams = {"num_beams": 3, "num_return_sequences": 2}
    only_two = {"logit_bias": {str(i): -math.inf for i in range(2, TOY.vocab_size)}, "max_new_tokens": 1}
    run = Run(generator, tmp_path / "out.jsonl", {"seed": 7, "max_new_tokens": 4})
    few = {"num_beams": 3, "num_return_sequences": 3}
    assert run.run([{"prompt": "the rat", **beams}, {"prompt": "a", **few, **only_two}]) is False
    beams_of = [
        (1, generator.generate("the rat", **beams, max_new_tokens=4)),
        (2, generator.generate("a", **few, **only_two)),
    ]
    expected = [(number, n, beam) for number, found in beams_of for n, beam in enumerate(found, 1)]
    assert len(expected) == 2 + 2
    for (number, sample, beam), one in zip(expected, run.records(), strict=True):
        assert (one["prompt_number"], one["sample"], one["seed"]) == (number, sample, None)
        assert (one["tokens"], one["text"], one["score"]) == (beam.tokens, beam.text, pytest.approx(beam.score))
    run.path.write_bytes(run.path.read_bytes().splitlines(keepends=True)[0])
    assert run.run([{"prompt": "the rat", **beams}, {"prompt": "a", **few, **only_two}]) is False
    assert [(one["prompt_number"], one["sample"]) for one in run.records()] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_prompt_is_computed_once_and_all_texts_have_a_place_in_each_step(generator, tmp_path):
    prompts = ["quick fox", "lazy dog", "me"]  # of which no other test has left a beginning in the prefix cache
    run = Run(generator, tmp_path / "out.jsonl")
    run.run(prompts)
    lengths = [len(generator.tokenizer.encode(prompt)) for prompt in prompts]
    # Of six new tokens the first comes with the prompt, and the last is not computed.
    assert sum(map(sum, run.engine.steps)) == sum(lengths) + 9 * 5
    assert max(map(len, run.engine.steps)) == 9
    assert len(run.engine.steps) <= 7


def test_as_many_prompts_run_as_are_asked_for(generator, tmp_path):
    run = Run(generator, tmp_path / "out.jsonl")
    run.run(["the rat", "a hen", "one"], at_once=1)
    assert [max(step) for step in run.engine.steps].count(1) >= 3 * 5
    assert max(map(len, run.engine.steps)) == 3
    assert [one["prompt_number"] for one in run.records()] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_prompts_are_read_as_there_is_room_while_one_takes_longer(generator, tmp_path):
    count = MAX_UNWRITTEN + 3 * MAX_SUBMITTED
    prompts = ({"prompt": "a", "max_new_tokens": 1 if n else 120} for n in range(count))
    run = Run(generator, tmp_path / "out.jsonl", {"seed": 7, "ignore_eos": True})
    run.run(prompts)
    assert MAX_SUBMITTED < run.most_unwritten <= MAX_UNWRITTEN
    assert [one["prompt_number"] for one in run.records()] == list(range(1, count + 1))
    assert max(map(len, run.engine.steps)) == MAX_NUM_SEQS


@pytest.mark.parametrize("lines", range(10))
def test_a_run_that_was_cut_anywhere_goes_on_to_the_same_bytes(generator, tmp_path, lines):
    prompts = ["the rat", {"prompt": "a hen", "top_k": 9}, "one"]
    run = Run(generator, tmp_path / "out.jsonl")
    run.run(prompts)
    whole = run.path.read_bytes()
    run.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]) + b'{"run": {"half'[: 14 * (lines < 9)])
    again = Run(generator, run.path)
    assert again.run(prompts) is False
    assert again.path.read_bytes() == whole
    assert again.progress == [n >= lines // 3 for n in range(3)]
    computed = sum(map(sum, again.engine.steps))
    assert (computed == 0) is (lines == 9)


def test_texts_that_lack_anywhere_are_added_at_the_end(generator, tmp_path):
    run = Run(generator, tmp_path / "out.jsonl")
    run.run(["the rat", "a hen", "one"])
    whole = run.path.read_bytes().splitlines(keepends=True)
    run.path.write_bytes(b"".join(whole[n] for n in (8, 0, 2, 3, 5)))
    run.run(["the rat", "a hen", "one"])
    assert run.path.read_bytes() == b"".join(whole[n] for n in (8, 0, 2, 3, 5, 1, 4, 6, 7))


def test_a_prompt_that_cannot_be_answered_costs_itself_alone(generator, tmp_path):
    run = Run(generator, tmp_path / "out.jsonl")
    nothing = {"prompt": "a", "logit_bias": {str(i): -math.inf for i in range(TOY.vocab_size)}}
    assert run.run(["the rat", {"prompt": "a", "top_q": 1}, {"prompt": "\x07"}, nothing, "one"]) is True
    assert [one["prompt_number"] for one in run.records()] == [1, 1, 1, 5, 5, 5]
    problems = {line.partition(": ")[0]: (level, line.partition(": ")[2]) for level, line in run.log}
    assert len(problems) == len(run.log) == 3
    assert {level for level, _ in problems.values()} == {"ERROR"}
    assert problems["line 2"][1].startswith("top_q: there is no such setting")
    assert problems["line 3"][1].startswith("holds the control character")
    assert problems["line 4"][1].startswith("no token is left to choose from: logit_bias")
    assert len(run.progress) == 5


def test_after_a_text_that_fails_its_prompt_has_no_more(generator, tmp_path):
    """As where the samples come one after another: of more than run at once, those that wait are not begun."""
    run = Run(generator, tmp_path / "out.jsonl")
    run.engine.error = 1, Problem("this step has failed")
    assert run.run([{"prompt": "a", "num_return_sequences": 100_000}, "one"]) is True
    assert run.log == [("ERROR", "line 1: this step has failed")]
    assert [one["prompt_number"] for one in run.records()] == [2, 2, 2]
    assert sum(map(len, run.engine.steps)) < 6 * (MAX_SUBMITTED + 3)


def test_what_is_no_problem_of_a_prompt_ends_the_run_and_what_runs(generator, tmp_path):
    run = Run(generator, tmp_path / "out.jsonl")
    run.engine.error = 3, ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run.run([{"prompt": "a", "max_new_tokens": 1, "num_return_sequences": 1}, *["b"] * 10])
    run.path, steps = tmp_path / "other.jsonl", len(run.engine.steps)
    assert run.run(["a"]) is False  # nothing of before runs beside it
    assert max(map(len, run.engine.steps[steps:])) == 3

"""features: a script is generated whatever is drafted; shares and ratios follow from the clock."""

import random
from dataclasses import dataclass, field

import pytest

from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_tools.benchmark.engine.features import Script, appended_figures, inference_clock, lookup_figures
from support.toy import HAS_PAGED_ATTENTION, ONE_THREAD, Toy

BACK_END = "paged" if HAS_PAGED_ATTENTION else "stateful"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return load_engine(Toy(n_positions=64).ir(tmp_path_factory.mktemp("toy")), config=ONE_THREAD, back_end=BACK_END)


@dataclass
class Watched:
    """An engine whose rows are noted: (how many tokens count, the new ones)."""

    engine: object
    rows: list = field(default_factory=list)

    def step(self, rows):
        self.rows += [(row.past_length(), list(row.tokens), row.cache) for row in rows]
        return self.engine.step(rows)

    def written(self, count):
        """Return the first tokens of the row that was computed last."""
        return self.rows[-1][2].tokens[:count]


def ticking():
    """Return a clock that goes on by a second whenever it is read."""
    now = iter(range(10**6))
    return lambda: float(next(now))


TEXTS = {
    "all again": ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]),
    "nothing again": ([1, 2, 3], list(range(10, 30))),
    "wrong half-way": ([1, 2, 3, 4, 1, 2, 9, 8], [1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("lookup", [False, True])
def test_what_is_written_is_the_script(engine, name, lookup):
    prompt, chosen = TEXTS[name]
    watched = Watched(engine)
    Script([*prompt, *chosen], len(prompt)).speed(watched, lookup)
    computed = len(prompt) + len(chosen) - 1  # the last token is drawn, and nothing computed of it
    assert watched.written(computed) == [*prompt, *chosen][:computed]


def test_plainly_each_step_has_one_token(engine):
    prompt, chosen = TEXTS["all again"]
    watched = Watched(engine)
    speed = Script([*prompt, *chosen], len(prompt)).speed(watched, False, ticking())
    assert [len(new) for _, new, _ in watched.rows] == [6] + [1] * 11
    assert speed == 11.0  # tokens after the first, in the one second between two readings


def test_right_drafts_spare_steps(engine):
    prompt, chosen = TEXTS["all again"]
    watched = Watched(engine)
    Script([*prompt, *chosen], len(prompt)).speed(watched, True)
    # after 1, a draft needs two tokens that were there before: 6 1 was not, 1 2 was
    assert [(kept, new) for kept, new, _ in watched.rows[1:]] == [
        (6, [1]),
        (7, [2, 3, 4]),
        (10, [5, 6, 1, 2, 3]),
        (15, [4, 5]),  # the last of the twelve is sampled after them
    ]


def test_the_figures_of_drafts(engine):
    figures = lookup_figures(engine, {"code": Script([1, 2, 3, 1, 2, 3, 1, 2, 3], 4)}, 2)
    assert list(figures) == ["prompt lookup, code", "prompt lookup, code, plain", "prompt lookup, code / plain"]
    fast, slow, ratio = figures.values()
    assert ratio.values == tuple(a / b for a, b in zip(fast.values, slow.values, strict=True))
    assert (len(ratio.values), fast.unit, ratio.unit) == (2, "tokens/s", "x")


def test_the_figures_of_a_longer_prompt(engine):
    figures = appended_figures(engine, 60, 2, random.Random(0), ticking())
    assert {name: figure.values for name, figure in figures.items()} == {
        "6 appended to 54": (1000.0, 1000.0),
        "60 recomputed": (1000.0, 1000.0),
        "6 appended to 54 / 60 recomputed": (1.0, 1.0),
    }


def test_every_inference_is_on_the_clock_and_then_none(engine):
    with inference_clock(ticking()) as times:
        for _ in range(3):
            engine.step([StepInput(SequenceCache(), [1, 2])])
    engine.step([StepInput(SequenceCache(), [1, 2])])
    assert times == [1.0, 1.0, 1.0]

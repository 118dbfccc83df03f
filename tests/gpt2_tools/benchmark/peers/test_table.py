"""table: figures of given runs, by hand; an engine that fails is dropped."""

import pytest

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.peers.table import (
    TableEngine,
    Workload,
    checked,
    checksums,
    common,
    first_tokens,
    in_turns,
    ratios,
    same_tokens,
    speed,
    speeds,
)
from gpt2_tools.common.json_process import CannotRun, PeerFailed

DECODE = Workload("decode", 1, 4, 3)
PREFILL = Workload("prefill of 4", 1, 4, 1)
BATCH = Workload("2 prompts at once", 2, 4, 3)
OURS = TableEngine("ours FP16", lambda request: {})
OTHER = TableEngine("other f32", lambda request: {}, "ours FP16")
RUNS = {
    "ours FP16": [(1.5, 0.5, [[7, 8, 9]]), (3.0, 1.0, [[7, 8, 9]])],
    "other f32": [(2.5, 0.5, [[7, 8, 9]]), (5.0, 1.0, [[7, 9, 8]])],
}


def test_the_speed_of_one_prompt_is_that_after_its_first_token():
    assert speed(DECODE, (1.5, 0.5, [[7, 8, 9]])) == 2.0  # 2 tokens in 1 s


def test_one_that_does_not_report_its_first_token_is_taken_whole():
    assert speed(DECODE, (1.5, None, [[7, 8, 9]])) == 2.0  # 3 tokens in 1.5 s


def test_the_speed_of_a_prompt_alone_counts_its_tokens():
    assert speed(PREFILL, (0.5, 0.5, [[7]])) == 8.0


def test_the_speed_of_several_prompts_is_of_all_new_tokens_in_the_whole_time():
    assert speed(BATCH, (2.0, 0.5, [[7, 8, 9], [7, 8, 9]])) == 3.0


def test_figures_ratios_first_tokens_and_common_tokens_of_two_rounds():
    assert speeds(DECODE, RUNS) == {
        "decode, ours FP16": Figure("tokens/s", (2.0, 1.0)),
        "decode, other f32": Figure("tokens/s", (1.0, 0.5)),
    }
    assert ratios(DECODE, [OURS, OTHER], RUNS) == {"decode, ours FP16 / other f32": Figure("x", (2.0, 2.0))}
    assert first_tokens(DECODE, RUNS) == {
        "first token after 4, ours FP16": Figure("ms", (500.0, 1000.0)),
        "first token after 4, other f32": Figure("ms", (500.0, 1000.0)),
    }
    assert same_tokens([OURS, OTHER], RUNS) == {"tokens as ours FP16, other f32": Figure("tokens", (3, 1))}


def test_who_writes_the_same_has_the_same_checksum():
    """As printf '7 8 9 7 8 9' | sha256sum has it."""
    found = checksums({**RUNS, "as ours": RUNS["ours FP16"], "gone": []})
    assert found["ours FP16"] == found["as ours"] == "69cb6a2c7fcce2cae2f9395d95c23115bb6b602ec4d7dd87a0f81980df78fe55"
    assert found["other f32"] != found["ours FP16"]
    assert "gone" not in found


def test_a_ratio_is_of_the_runs_of_one_round():
    runs = {"ours FP16": [(1.5, 0.5, [[7, 8, 9]]), (4.5, 0.5, [[7, 8, 9]])], "other f32": RUNS["other f32"]}
    assert ratios(DECODE, [OTHER], runs) == {"decode, ours FP16 / other f32": Figure("x", (2.0, 1.0))}


def test_without_runs_there_are_no_figures():
    runs = {"ours FP16": RUNS["ours FP16"]}
    assert ratios(DECODE, [OURS, OTHER], runs) == {}
    assert same_tokens([OURS, OTHER], runs) == {}
    assert speeds(DECODE, {"ours FP16": []}) == {}
    assert first_tokens(DECODE, {"ours FP16": [(1.5, None, [[7, 8, 9]])]}) == {}


@pytest.mark.parametrize(("one", "other", "count"), [([1, 2], [1, 2], 2), ([1, 2], [1, 3], 1), ([2, 2], [1, 2], 0)])
def test_tokens_that_two_texts_begin_with(one, other, count):
    assert common(one, other) == count


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"seconds": 0, "first": None, "tokens": [[1, 2, 3]]},
        {"seconds": "1", "first": None, "tokens": [[1, 2, 3]]},
        {"seconds": True, "first": None, "tokens": [[1, 2, 3]]},
        {"seconds": float("nan"), "first": None, "tokens": [[1, 2, 3]]},
        {"seconds": 1, "first": -1, "tokens": [[1, 2, 3]]},
        {"seconds": 1, "first": 1, "tokens": [[1, 2, 3]]},
        {"seconds": 1, "first": 0.5, "tokens": 3},
    ],
)
def test_an_answer_that_is_none(answer):
    with pytest.raises(PeerFailed, match=r"^expected seconds and tokens, got "):
        checked(answer, DECODE)


@pytest.mark.parametrize("tokens", [[], [[1, 2]], [[1, 2, 3], [1, 2, 3]], [3]])
def test_an_answer_of_too_few_tokens(tokens):
    with pytest.raises(PeerFailed, match=r"^generated .*, expected 3 for each of 1 prompts$"):
        checked({"seconds": 1, "first": None, "tokens": tokens}, DECODE)


class Recorded:
    """Contestants that note who was asked what, in one list."""

    def __init__(self) -> None:
        self.asked = []

    def engine(self, name, *failures):
        """Return one that answers, or raises what is given for a round."""
        left = list(failures)

        def ask(request):
            self.asked.append((name, request["prompts"]))
            failure = left.pop(0) if left else None
            if failure:
                raise failure
            return {"seconds": 1.5, "first": 0.5, "tokens": [[7, 8, 9]]}

        return TableEngine(name, ask)


def test_all_run_a_round_before_the_next_and_the_warm_up_is_left_out():
    recorded, not_run = Recorded(), {}
    both = [recorded.engine("a"), recorded.engine("b")]
    runs = in_turns(both, DECODE, [[[1]], [[2]], [[3]]], 1, not_run)
    assert recorded.asked == [("a", [[1]]), ("b", [[1]]), ("a", [[2]]), ("b", [[2]]), ("a", [[3]]), ("b", [[3]])]
    assert {name: len(kept) for name, kept in runs.items()} == {"a": 2, "b": 2}
    assert not_run == {}


def test_who_fails_is_asked_no_more_and_the_others_go_on():
    recorded, not_run = Recorded(), {}
    both = [recorded.engine("a", None, PeerFailed("ended")), recorded.engine("b")]
    runs = in_turns(both, DECODE, [[[1]], [[2]], [[3]]], 0, not_run)
    assert recorded.asked == [("a", [[1]]), ("b", [[1]]), ("a", [[2]]), ("b", [[2]]), ("b", [[3]])]
    assert runs.keys() == {"b"}
    assert not_run == {"a": "ended"}


def test_who_is_not_made_for_a_workload_is_left_out_of_that_one():
    not_run = {}
    runs = in_turns([Recorded().engine("a", CannotRun("one at a time"))], DECODE, [[[1]]], 0, not_run)
    assert runs == {}
    assert not_run == {"decode, a": "one at a time"}

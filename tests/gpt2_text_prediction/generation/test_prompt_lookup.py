"""prompt_lookup: drafts by hand, and against a search of the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction.generation.prompt_lookup import LONGEST, LONGEST_PAUSE, RUNS, SHORTEST, PromptLookup


def test_a_draft_is_what_stood_behind_the_same_tokens():
    assert PromptLookup([1, 2, 3, 4, 5, 1, 2]).draft(9) == [3, 4]
    assert PromptLookup([1, 2, 3, 4, 5, 1, 2]).draft(1) == [3]


def test_a_single_token_that_comes_again_is_no_draft():
    assert PromptLookup([1, 2, 3, 1]).draft(9) == []
    assert PromptLookup([]).draft(9) == []
    assert PromptLookup([1]).draft(9) == []


def test_a_longer_run_wins_over_a_later_one():
    assert PromptLookup([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2]).draft(1) == [3]


def test_the_latest_of_equal_runs_wins():
    assert PromptLookup([1, 2, 3, 1, 2, 4, 1, 2]).draft(1) == [4]


def test_a_text_that_goes_round_is_drafted_beyond_its_end():
    lookup = PromptLookup([5, 6, 7, 5, 6, 7, 5, 6])
    lookup.learn(2, 2)
    lookup.learn(4, 4)
    assert lookup.draft(7) == [7, 5, 6, 7, 5, 6, 7]


def test_no_room_is_no_draft():
    assert PromptLookup([1, 2, 1, 2]).draft(0) == []
    assert PromptLookup([1, 2, 1, 2]).draft(-1) == []


def test_drafts_grow_while_they_are_right_and_shrink_to_what_was():
    lookup, lengths = PromptLookup([1] * 9), []
    for _ in range(4):
        lengths.append(len(lookup.draft(99)))
        lookup.learn(lengths[-1], lengths[-1])
    assert lengths == [SHORTEST, 4, 8, LONGEST]
    lookup.learn(15, 4)
    assert len(lookup.draft(99)) == 5


def test_a_short_draft_that_was_right_does_not_shorten_the_next():
    lookup = PromptLookup([1] * 9)
    lookup.learn(8, 8)
    lookup.learn(1, 1)
    assert len(lookup.draft(99)) == LONGEST


def test_drafts_that_are_wrong_rest_longer_each_time():
    lookup, rests = PromptLookup([1] * 9), []
    for _ in range(8):
        lookup.learn(2, 0)
        rest = 0
        while not lookup.draft(2):
            lookup.push(1)
            rest += 1
        rests.append(rest)
    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    lookup.learn(2, 1)
    assert lookup.draft(2)


def test_two_tokens_are_not_enough_behind_a_draft_that_was_all_wrong():
    lookup = PromptLookup([1, 2, 3, 9, 2, 3])
    assert lookup.draft(2) == [9, 2]
    lookup.learn(2, 0)
    lookup.push(5)
    for token in (1, 2):
        lookup.push(token)
    assert lookup.draft(2) == []
    lookup.push(3)
    assert lookup.draft(2) == [9, 2]
    lookup.learn(2, 1)
    lookup.push(9)
    lookup.push(7)
    lookup.push(9)
    lookup.push(2)
    assert lookup.draft(1) == [3]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, SHORTEST))
def test_drafts_are_those_of_a_search_through_the_text(tokens, most):
    expected = []
    for run in RUNS:
        earlier = [i for i in range(run, len(tokens)) if tokens[i - run : i] == tokens[len(tokens) - run :]]
        if earlier:
            period = tokens[earlier[-1] :]
            expected = (period * most)[:most]
            break
    assert PromptLookup(tokens).draft(most) == expected

"""request: texts on a real engine, in any company, are the oracle's, as they are alone."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_text_prediction.engine.engine import Engine, load_engine
from gpt2_text_prediction.engine.scheduler import Cancelled, Scheduler
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_text_prediction.generation.beam_search import BeamParams, BeamRequest, Beams, Continuation
from gpt2_text_prediction.generation.counter_rng import CounterRng
from gpt2_text_prediction.generation.prompt_lookup import PromptLookup
from gpt2_text_prediction.generation.request import (
    MAX_LOGITS,
    GenerateRequest,
    PrefixCache,
    Prompt,
    RequestParams,
    TokenCounts,
)
from gpt2_text_prediction.generation.sampling import Sampling, choose
from support import HANGS_AFTER
from support.beams import Found, beam_search
from support.toy import (
    DEVICES_OF_A_CPU,
    HAS_PAGED_ATTENTION,
    ONE_THREAD,
    Toy,
    assert_close,
    save,
    without_attention_ops,
)

TOY = Toy(n_positions=130, vocab_size=11, seed=4)
GREEDY = Sampling(temperature=0)
BACK_ENDS = {
    "stateful": lambda model: model,
    **{f"stateful on {device}": lambda model: model for device in DEVICES_OF_A_CPU},
    "paged": lambda model: model,
    "paged with little memory": lambda model: model,
    "recompute": without_attention_ops,
}
FEW_BLOCKS = 9
"""Of 32 tokens: one text of all positions takes 5, and one is needed to copy a shared block to."""
needs_paged_attention = pytest.mark.skipif(not HAS_PAGED_ATTENTION, reason="openvino's is another before 2026.0")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=needs_paged_attention if "paged" in name else ()) for name in BACK_ENDS],
)
def engine(request, tmp_path_factory) -> Engine:
    folder = tmp_path_factory.mktemp("generation")
    path = save(BACK_ENDS[request.param](TOY.model(folder)), folder / "toy.xml")
    name, _, device = request.param.partition(" on ")
    name, _, memory = name.partition(" with ")
    loaded = load_engine(path, device or "CPU", ONE_THREAD, back_end="paged" if name == "paged" else "stateful")
    assert loaded.back_end.name == name
    if memory:
        budget = FEW_BLOCKS * loaded.back_end.block_bytes
        loaded = load_engine(path, "CPU", ONE_THREAD, back_end="paged", cache_budget=budget)
        assert loaded.usage().blocks == FEW_BLOCKS
    return loaded


class Counting:
    """An engine that counts its steps and the tokens that it is given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fits: Callable[[Sequence[int]], bool] = engine.fits
        self.n_positions = engine.n_positions
        self.steps = self.tokens = self.max_num_seqs = 0

    def step(self, rows: Sequence[StepInput]) -> list[np.ndarray]:
        self.steps += 1
        self.tokens += sum(len(row.tokens) for row in rows)
        self.max_num_seqs = max(self.max_num_seqs, len(rows))
        return self.engine.step(rows)


def text(seed: int, length: int, kinds: int = 11) -> list[int]:
    return np.random.default_rng(seed).integers(0, kinds, length).tolist()


def oracle(prompt: Sequence[int], plan: RequestParams) -> tuple[list[int], str]:
    """Token by token, each from the oracle's logits for the whole text."""
    rng, new = CounterRng(*plan.seed), []
    while len(new) < plan.max_new_tokens:
        new.append(choose(TOY.logits([*prompt, *new])[-1], plan.sampling, rng.at(len(prompt) + len(new))))
        if new[-1] in plan.ending_ids:
            return new, "stop"
    return new, "length"


def is_near_tie(tokens: list[int], expected: list[int], prompt: Sequence[int], plan: RequestParams) -> bool:
    """Tell whether the first token that is not the oracle's is one that rounding could draw."""
    place = next(i for i, pair in enumerate(zip(tokens, expected, strict=False)) if pair[0] != pair[1])
    logits, noise = TOY.logits([*prompt, *tokens[:place]])[-1], np.random.default_rng(0)
    near = [(logits + noise.normal(0, 1e-5, logits.size)).astype(np.float32) for _ in range(50)]
    rng = CounterRng(*plan.seed)
    return tokens[place] in {choose(one, plan.sampling, rng.at(len(prompt) + place)) for one in near}


def run(
    engine, tasks: list[tuple[Sequence[int], RequestParams]], recent: PrefixCache | None = None, **options
) -> list[GenerateRequest]:
    """Run tasks as one call; return them ended."""
    ended: SimpleQueue[GenerateRequest] = SimpleQueue()
    scheduler, recent = Scheduler(engine, **options), recent or PrefixCache()
    generations = [GenerateRequest(Prompt(prompt), plan, recent, ended.put) for prompt, plan in tasks]
    scheduler.submit(generations)
    for _ in tasks:
        assert ended.get(timeout=HANGS_AFTER).error is None
    scheduler.close()
    return generations


def judge(generations: list[GenerateRequest], tasks: list[tuple[Sequence[int], RequestParams]]) -> None:
    for one, (prompt, plan) in zip(generations, tasks, strict=True):
        assert (one.tokens, one.finish_reason) == oracle(prompt, plan)


def plans(count: int, most: int = 20, lookup: bool = False, eos: int | None = None) -> list[RequestParams]:
    """Greedy ones and drawn ones in turns."""
    drawn = Sampling(temperature=1.3, top_p=0.95)
    return [
        RequestParams((GREEDY, drawn)[n % 2], (7, n, 0), most, () if eos is None else (eos,), lookup)
        for n in range(count)
    ]


def test_a_text_that_has_ended_does_not_hold_the_runs_of_its_prompt(engine):
    (one,) = run(engine, [(text(1, 60), RequestParams(GREEDY, (0, 0, 0), 5, prompt_lookup=True))])
    assert len(one.tokens) == 5
    held = [found for found in vars(one).values() if isinstance(found, PromptLookup)]
    assert not held


@pytest.mark.parametrize("lookup", [False, True])
def test_prompts_of_all_lengths_run_together_as_each_would_alone(engine, lookup):
    lengths = (1, 2, 31, 32, 33, 64, 90, 3, 5)
    tasks = [
        (text(n, length), plan) for n, (length, plan) in enumerate(zip(lengths, plans(9, 30, lookup), strict=True))
    ]
    judge(run(engine, tasks, max_num_seqs=4), tasks)


@pytest.mark.parametrize("lookup", [False, True])
def test_a_text_ends_at_its_end_wherever_it_stands_in_a_draft(engine, lookup):
    tasks = [(text(n, 12, 2), plan) for n, plan in enumerate(plans(10, 100, lookup, eos=3))]
    generations = run(engine, tasks)
    judge(generations, tasks)
    assert "stop" in {one.finish_reason for one in generations}


@pytest.mark.parametrize("most", [1, 2, 3])
def test_drafts_do_not_go_past_the_last_token_or_position(engine, most):
    tasks = [
        ([1, 2] * 64, RequestParams(GREEDY, (0,), min(most, 2), (), True)),
        ([1, 2] * 20, RequestParams(GREEDY, (0,), most, (), True)),
    ]
    judge(run(engine, tasks), tasks)


def test_repetitive_texts_take_fewer_steps_with_drafts(engine):
    plain, drafting = Counting(engine), Counting(engine)
    repetitive = Sampling(temperature=0.5, logit_bias={3: 50.0})
    for counting, lookup in ((plain, False), (drafting, True)):
        tasks = [(text(3, 20), RequestParams(repetitive, (0,), 100, (), lookup))]
        judge(run(counting, tasks), tasks)
    assert plain.steps == 100
    assert drafting.steps < 20


def test_texts_that_never_repeat_are_hardly_drafted(engine):
    counting = Counting(engine)
    flat = Sampling(temperature=100.0, top_p=1)
    tasks = [(text(3, 20), RequestParams(flat, (1,), 110, (), True))]
    judge(run(counting, tasks), tasks)
    assert counting.tokens <= 20 + 110 + 2 * 12


@pytest.mark.parametrize("first", [1, 11, 29])
def test_a_text_is_continued_elsewhere_from_its_tokens_and_seed(engine, first):
    prompt, drawn = text(5, 9), Sampling(temperature=1.5, repetition_penalty=1.2, no_repeat_ngram_size=4)
    (whole,) = run(engine, [(prompt, RequestParams(drawn, (2**64 - 1, 3, 1), 30))])
    (rest,) = run(engine, [([*prompt, *whole.tokens[:first]], RequestParams(drawn, (2**64 - 1, 3, 1), 30 - first))])
    assert [*whole.tokens[:first], *rest.tokens] == whole.tokens


def test_logprobs_are_the_models_own(engine):
    prompt = text(5, 9)
    told, ended = [], SimpleQueue()
    plan = RequestParams(Sampling(temperature=2.0, top_k=3), (1,), 6, (), logprobs=2)
    one = GenerateRequest(Prompt(prompt), plan, PrefixCache(), ended.put, told.append)
    Scheduler(engine).submit([one])
    assert ended.get(timeout=HANGS_AFTER).error is None
    expected = log_softmax(TOY.logits([*prompt, *one.tokens])[8:-1])
    np.testing.assert_allclose([new.logprob for new in told], expected[np.arange(6), one.tokens], atol=1e-4)
    for new, row in zip(told, expected, strict=True):
        assert [token for token, _ in new.top_logprobs] == np.argsort(-row, kind="stable")[:2].tolist()
        np.testing.assert_allclose([value for _, value in new.top_logprobs], np.sort(row)[:-3:-1], atol=1e-4)


def log_softmax(logits: np.ndarray) -> np.ndarray:  # [L, V] -> [L, V], in f64
    wide = logits.astype(np.float64)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def test_tokens_are_told_as_they_come(engine):
    told, ended = [], SimpleQueue()
    one = GenerateRequest(Prompt([1, 2]), RequestParams(GREEDY, (0,), 5, ()), PrefixCache(), ended.put, told.append)
    Scheduler(engine).submit([one])
    assert ended.get(timeout=HANGS_AFTER) is one
    assert [new.id for new in told] == one.tokens == TOY.greedy([1, 2], 5)
    assert [new.finish_reason for new in told] == [None] * 4 + ["length"]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_samples_of_a_prompt_share_its_computation(engine, count):
    prompt_tokens, ended = text(1, 70), SimpleQueue()
    counting = Counting(engine)
    prompt = Prompt(prompt_tokens, count)
    drawn = [RequestParams(Sampling(temperature=1.5), (3, 0, n), 6, ()) for n in range(count)]
    samples = [GenerateRequest(prompt, plan, PrefixCache(), ended.put) for plan in drawn]
    Scheduler(counting).submit(samples)
    for _ in samples:
        assert ended.get(timeout=HANGS_AFTER).error is None
    judge(samples, [(prompt_tokens, plan) for plan in drawn])
    assert counting.tokens == 70 + 5 * count
    assert len({tuple(one.tokens) for one in samples}) == count


def test_samples_of_one_token_each_need_no_step_of_their_own(engine):
    counting, ended = Counting(engine), SimpleQueue()
    prompt = Prompt([1, 2, 3], 5)
    Scheduler(counting).submit(
        [
            GenerateRequest(prompt, RequestParams(Sampling(), (3, 0, n), 1, ()), PrefixCache(), ended.put)
            for n in range(5)
        ]
    )
    for _ in range(5):
        assert len(ended.get(timeout=HANGS_AFTER).tokens) == 1
    assert counting.steps == 1


def test_where_the_first_sample_is_cancelled_the_next_computes_the_prompt(engine):
    gate, entered, ended = threading.Semaphore(0), threading.Semaphore(0), SimpleQueue()

    class Gated(Counting):
        def step(self, rows):
            entered.release()
            assert gate.acquire(timeout=HANGS_AFTER)
            return super().step(rows)

    scheduler, prompt = Scheduler(Gated(engine)), Prompt([1, 2, 3], 2)
    first, second = (
        GenerateRequest(prompt, RequestParams(GREEDY, (0,), 3, ()), PrefixCache(), ended.put) for _ in range(2)
    )
    call = scheduler.submit([first])
    assert entered.acquire(timeout=HANGS_AFTER)
    scheduler.submit([second])
    scheduler.cancel(call)
    gate.release(100)
    assert {type(ended.get(timeout=HANGS_AFTER).error) for _ in range(2)} == {Cancelled, type(None)}
    assert second.tokens == TOY.greedy([1, 2, 3], 3)


def test_a_prompt_that_goes_on_from_a_recent_text_computes_the_rest(engine):
    counting, recent = Counting(engine), PrefixCache()
    tasks = [(text(1, 20), RequestParams(GREEDY, (0,), 10, ()))]
    (one,) = run(counting, tasks, recent)
    longer = [*text(1, 20), *one.tokens, 5]
    counting.tokens = 0
    tasks = [(longer, RequestParams(GREEDY, (0,), 3, ()))]
    judge(run(counting, tasks, recent), tasks)
    assert counting.tokens == 2 + 2  # its last token had not been run


def test_a_prompt_that_comes_again_computes_its_last_token(engine):
    counting, recent = Counting(engine), PrefixCache()
    tasks = [(text(1, 20), RequestParams(GREEDY, (0,), 3, ()))]
    run(counting, tasks, recent)
    counting.tokens = 0
    judge(run(counting, tasks, recent), tasks)
    assert counting.tokens == 1 + 2


def test_of_a_cache_of_mostly_other_tokens_nothing_is_used():
    recent = PrefixCache(2)
    recent.add(SequenceCache([1, 2, 3, 4, 5, 6, 7]))
    assert recent.lookup([1, 2, 3, 9])[1] == 0
    assert recent.lookup([1, 2, 3, 4, 9])[1] == 4
    recent.add(SequenceCache([1, 2, 3, 4, 9, 9]))
    assert recent.lookup([1, 2, 3, 4, 9, 7])[1] == 5
    recent.add(SequenceCache([8]))
    recent.add(SequenceCache())
    assert recent.lookup([1, 2, 3, 4, 5, 6, 7])[1] == 4
    assert recent.lookup([8])[1] == 0


@pytest.mark.parametrize("length", [1, 2, MAX_LOGITS - 1, MAX_LOGITS, MAX_LOGITS + 1, 130])
@pytest.mark.parametrize("from_end", [False, True])
def test_a_text_is_read_with_its_logits(engine, length, from_end):
    tokens, first, got, ended = text(2, length), (length - 1 if from_end else 0), {}, SimpleQueue()
    scheduler, recent = Scheduler(engine), PrefixCache()
    for _ in range(2):
        got.clear()
        prompt = Prompt(tokens, wanted=range(first, length), on_logits=got.__setitem__)
        scheduler.submit([GenerateRequest(prompt, RequestParams(GREEDY, (0,), 0), recent, ended.put)])
        assert ended.get(timeout=HANGS_AFTER).error is None
        assert list(got) == [*range(first, length)]
        assert_close(np.stack([*got.values()]), TOY.logits(tokens)[first:])


class Oracle:
    """An engine whose logits are the oracle's."""

    n_positions = TOY.n_positions

    def fits(self, lengths: Sequence[int]) -> bool:
        return True

    def step(self, rows: Sequence[StepInput]) -> list[np.ndarray]:
        answers = []
        for row in rows:
            row.cache.tokens[row.past_length() :] = row.tokens
            logits = TOY.logits(row.cache.tokens)[-len(row.tokens) :]
            answers.append(logits[[i % len(row.tokens) for i in row.logits_indices]].astype(np.float32))
        return answers


def judge_search(found: Sequence[Continuation], expected: Sequence[Found]) -> None:
    """Require the same beams, or where two are as good as equal, beams as good."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
    if all(abs(a.score - b.score) > 1e-3 for a, b in pairwise(expected)):
        assert [new.id for new in found[0].tokens] == expected[0].tokens


def test_logits_of_a_prompt_come_with_the_text_after_it_in_one_computation(engine):
    counting, got, ended = Counting(engine), {}, SimpleQueue()
    tokens, counts = text(7, 125), TokenCounts()
    prompt = Prompt(tokens, 2, range(3, 124), got.__setitem__)
    samples = [
        GenerateRequest(prompt, RequestParams(Sampling(), (1, 0, n), 6), PrefixCache(), ended.put, counts=counts)
        for n in range(2)
    ]
    Scheduler(counting).submit(samples)
    for _ in samples:
        assert ended.get(timeout=HANGS_AFTER).error is None
    assert list(got) == [*range(3, 124)]
    assert_close(np.stack([*got.values()]), TOY.logits(tokens)[3:124])
    judge(samples, [(tokens, RequestParams(Sampling(), (1, 0, n), 6)) for n in range(2)])  # 125 + 6 = 130 + 1
    assert counting.tokens == 125 + 2 * 5
    assert (counts.prompt, counts.new, counts.prefix_hits) == (125, 12, 0)


@pytest.mark.parametrize("wanted", [range(0), range(4), range(2, 9)])
def test_of_a_text_without_new_tokens_no_more_is_computed_than_is_wanted(engine, wanted):
    counting, got, ended = Counting(engine), {}, SimpleQueue()
    tokens = text(8, 9)
    prompt = Prompt(tokens, 1, wanted, got.__setitem__)
    request = GenerateRequest(prompt, RequestParams(GREEDY, (0,), 0), PrefixCache(), ended.put)
    Scheduler(counting).submit([request])
    assert ended.get(timeout=HANGS_AFTER).error is None
    assert (request.tokens, request.finish_reason) == ([], "length")
    assert list(got) == list(wanted)
    assert counting.tokens == wanted.stop


def test_many_texts_at_once_are_right_where_memory_is_for_a_few(engine):
    tasks = [(text(n, 40), plan) for n, plan in enumerate(plans(12, 60, lookup=True))]
    judge(run(engine, tasks, max_num_seqs=12), tasks)


TASKS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=60),
        st.integers(1, 40),  # new tokens
        st.booleans(),  # greedy
        st.booleans(),  # drafts
        st.none() | st.integers(0, 30),  # how many tokens until it is cancelled
        st.integers(1, 3),  # samples
        st.integers(0, 3),  # beams, in place of samples; 0 for none
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(calls=TASKS, max_num_seqs=st.integers(1, 5), seed=st.integers(0, 3))
def test_any_schedule_of_texts_that_enter_leave_fork_reject_and_end_early_is_the_oracles(
    engine, calls, max_num_seqs, seed
):
    scheduler, recent, ended = Scheduler(engine, max_num_seqs), PrefixCache(), SimpleQueue()
    all_tasks, searches = [], []
    for n, (tokens, most, greedy, lookup, cancelled, samples, beams) in enumerate(calls):
        if beams:
            params = BeamParams(Beams(num_beams=beams, num_return_sequences=beams), min(most, 12), (10,))
            searches.append((BeamRequest(Prompt(tokens), params, recent, ended.put), tokens, params))
            scheduler.submit([searches[-1][0]])
            continue
        prompt, handed = Prompt(tokens, samples), []

        def told(token, seen=[], limit=cancelled, handed=handed):  # noqa: B006  # one for each call
            seen.append(token)
            if len(seen) == limit:
                scheduler.cancel(handed[0])

        sampling = GREEDY if greedy else Sampling(temperature=1.2)
        params = [RequestParams(sampling, (seed, n, s), most, (10,), lookup) for s in range(samples)]
        tasks = [GenerateRequest(prompt, plan, recent, ended.put, told) for plan in params]
        with scheduler._lock:  # so that the call is known before its first token is told
            handed.append(scheduler.submit(tasks))
        all_tasks += zip(tasks, [tokens] * samples, params, strict=True)
    for _ in all_tasks + searches:
        ended.get(timeout=HANGS_AFTER)
    scheduler.close()
    for search, tokens, params in searches:
        assert search.error is None
        judge_search(search.finished, beam_search(Oracle(), tokens, params.beams, params.max_new_tokens, (10,)))
    for one, tokens, plan in all_tasks:
        expected, _ = oracle(tokens, plan)
        got = one.tokens
        if got != expected[: len(got)]:
            assert is_near_tie(got, expected, tokens, plan)  # seldom: which rows run together is for threads to say
        elif one.error is None:
            assert got == expected
        else:
            assert isinstance(one.error, Cancelled)

"""paged: texts of many blocks, budgets, what is shared and what is given back.

That its logits are the oracle's for rows in any order, test_engine.py says of every back end.
"""

import gc

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction import Problem
from gpt2_text_prediction.engine.backends import paged_attention
from gpt2_text_prediction.engine.backends.paged import NoRoom
from gpt2_text_prediction.engine.engine import Engine, load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from support.toy import HAS_PAGED_ATTENTION, ONE_THREAD, Toy, assert_close, save, without_attention_ops

pytestmark = pytest.mark.skipif(not HAS_PAGED_ATTENTION, reason="openvino's is another before 2026.0")

TOY = Toy(n_positions=130, vocab_size=11, seed=4)
SIZE = 32
ROW_BLOCKS = 5


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("paged"))


@pytest.fixture(scope="module")
def engine(ir) -> Engine:
    loaded = load_engine(ir, config=ONE_THREAD, back_end="paged")
    assert loaded.back_end.blocks.size == SIZE
    return loaded


@pytest.fixture(scope="module")
def block_bytes(engine) -> int:
    return engine.back_end.block_bytes


class Watched:
    """A request that counts the tokens it computes, and is interrupted once."""

    def __init__(self, request) -> None:
        self._request = request
        self.tokens: list[int] = []
        self.interrupted = ""

    def infer(self, **options):
        self.tokens.append(self._request.get_tensor("input_ids").size)
        if self.interrupted == "before":
            self.interrupted = ""
            raise KeyboardInterrupt
        outputs = self._request.infer(**options)
        if self.interrupted == "after":
            self.interrupted = ""
            raise KeyboardInterrupt
        return outputs

    def get_output_tensor(self, index):
        return self._request.get_output_tensor(index)


@pytest.fixture
def watched(ir):
    """Return an engine of its own whose request is watched, and the watch."""
    engine = load_engine(ir, config=ONE_THREAD, back_end="paged")
    engine.back_end._request = Watched(engine.back_end._request)
    return engine, engine.back_end._request


def text(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 11, length).tolist()


def judge(engine: Engine, *rows: StepInput) -> None:
    wholes = [[*row.cache.tokens[: row.past_length()], *row.tokens] for row in rows]
    for row, whole, logits in zip(rows, wholes, engine.step(rows), strict=True):
        expected = TOY.logits(whole)[len(whole) - len(row.tokens) :][list(row.logits_indices)]
        assert_close(logits, expected.reshape(-1, 11))


def test_a_text_of_many_blocks_at_once_and_in_chunks(engine):
    whole = text(1, 130)
    judge(engine, StepInput(SequenceCache(), whole, logits_indices=range(130)))
    for chunk in (1, 31, 32, 33, 64, 129):
        cache = SequenceCache()
        for start in range(0, 130, chunk):
            new = whole[start : start + chunk]
            judge(engine, StepInput(cache, new, logits_indices=range(len(new))))


def test_a_prompt_enters_in_chunks_while_others_decode(engine):
    rows = [SequenceCache(), SequenceCache()]
    judge(engine, *(StepInput(cache, text(n, 30 + n)) for n, cache in enumerate(rows)))
    entering = SequenceCache()
    for n, start in enumerate(range(0, 100, 25)):
        judge(
            engine,
            StepInput(rows[0], [n]),
            StepInput(entering, text(7, 100)[start : start + 25]),
            StepInput(rows[1], [n + 1]),
        )
    judge(engine, *(StepInput(cache, [5]) for cache in [entering, *rows]))


def test_a_prompt_with_a_known_beginning_computes_the_rest(watched):
    engine, watch = watched
    common = text(1, 80)
    judge(engine, StepInput(SequenceCache(), [*common, 1, 2]))
    judge(engine, StepInput(SequenceCache(), [*common, 3]), StepInput(SequenceCache(), [*common[:70], 4]))
    judge(engine, StepInput(SequenceCache(), [9, *common]))
    assert watch.tokens == [82, 81 - 64 + 71 - 64, 81]


def test_a_beginning_is_known_after_its_cache_has_gone_and_across_what_was_decoded(watched):
    engine, watch = watched
    cache = SequenceCache()
    said = text(1, 100)
    judge(engine, StepInput(cache, said[:60]))
    for token in said[60:]:
        judge(engine, StepInput(cache, [token]))
    del cache
    judge(engine, StepInput(SequenceCache(), [*said, 5, 6]))
    assert watch.tokens == [60, *[1] * 40, 102 - 96]


def test_a_cache_made_of_tokens_finds_its_beginning(watched):
    engine, watch = watched
    judge(engine, StepInput(SequenceCache(), text(1, 70)))
    judge(engine, StepInput(SequenceCache(text(1, 70)), [4]))
    assert watch.tokens == [70, 71 - 64]


def test_forks_compute_their_own_tokens_alone(watched):
    engine, watch = watched
    root = SequenceCache()
    judge(engine, StepInput(root, text(1, 50)))
    forks = [root.fork() for _ in range(3)]
    for n in range(20):
        judge(
            engine,
            *(StepInput(cache, [n % 11 if cache is root else (n + i) % 7]) for i, cache in enumerate([root, *forks])),
        )
    assert watch.tokens == [50, *[4] * 20]
    assert engine.back_end.blocks.num_free_blocks() == engine.back_end.blocks.count - (1 + 4 * 2)


def test_rejected_drafts_are_dropped_without_computing_again(watched):
    engine, watch = watched
    cache = SequenceCache()
    judge(engine, StepInput(cache, text(1, 25)))
    for n in range(30):
        judge(engine, StepInput(cache, [n % 11, 3, 4, 5, 6], num_computed_tokens=25 + 2 * n, logits_indices=range(5)))
    assert watch.tokens == [25, *[5] * 30]


@pytest.mark.parametrize("num_computed_tokens", [31, 32, 33, 64, 65])
def test_a_shorter_past_does_not_write_into_what_a_fork_holds(engine, num_computed_tokens):
    cache = SequenceCache()
    judge(engine, StepInput(cache, text(1, 66)))
    fork = cache.fork()
    judge(engine, StepInput(cache, [1, 2, 3], num_computed_tokens=num_computed_tokens, logits_indices=range(3)))
    judge(engine, StepInput(fork, [4]), StepInput(cache, [5]))
    judge(engine, StepInput(SequenceCache(), [*text(1, 66), 6]))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("num_computed_tokens", [None, 40, 32, 10])
def test_an_interrupted_step_spoils_no_cache(watched, when, num_computed_tokens):
    engine, watch = watched
    one, two = SequenceCache(), SequenceCache()
    judge(engine, StepInput(one, text(1, 66)), StepInput(two, text(2, 40)))
    fork = one.fork()
    watch.interrupted = when
    with pytest.raises(KeyboardInterrupt):
        engine.step([StepInput(two, [4, 5]), StepInput(one, [6, 7, 8], num_computed_tokens)])
    assert (one.tokens, two.tokens) == (text(1, 66), text(2, 40))
    judge(engine, StepInput(one, [7]), StepInput(fork, [8]), StepInput(two, [9]))


def test_a_budget_is_kept(ir, block_bytes):
    for blocks in (6, 7.5, 40):
        budget = int(blocks * block_bytes)
        back_end = load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=budget).back_end
        taken = sum(memory.nbytes for memory in back_end._memory)
        assert budget - block_bytes < taken <= budget
        assert back_end.blocks.count == int(blocks)


def test_without_a_budget_eight_rows_of_all_positions_fit(engine):
    judge(engine, *(StepInput(SequenceCache(), text(n, 130)) for n in range(8)))


def test_a_budget_too_small_for_one_row_is_a_problem_that_names_the_least(ir, block_bytes):
    least = (ROW_BLOCKS + 1) * block_bytes
    with pytest.raises(Problem) as caught:
        load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=least - 1)
    expected = f"cache_budget: expected at least {least} bytes, for one sequence of all positions, got {least - 1}"
    assert str(caught.value) == expected


def test_a_budget_beyond_all_memory_is_a_problem(ir):
    with pytest.raises(
        Problem, match=r"^cache_budget: \d+ bytes cannot be allocated: free memory, or give a smaller one$"
    ):
        load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=1 << 60)


def test_a_budget_for_a_back_end_that_keeps_none_is_a_problem(ir):
    with pytest.raises(Problem, match="ask for paged"):
        load_engine(ir, config=ONE_THREAD, cache_budget=1 << 30)


@pytest.fixture
def small(ir, block_bytes) -> Engine:
    """Six blocks: one row of all positions, and one to copy to."""
    return load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=6 * block_bytes)


def test_what_is_forgotten_is_computed_again_but_for_what_caches_hold(watched):
    engine, watch = watched
    num_tokens = SequenceCache()
    judge(engine, StepInput(num_tokens, text(1, 70)))
    judge(engine, StepInput(SequenceCache(), text(2, 70)))
    judge(engine, StepInput(SequenceCache(), text(2, 70)))
    engine.reset_prefix_cache()
    judge(engine, StepInput(SequenceCache(), text(2, 70)))
    judge(engine, StepInput(num_tokens, [3]))
    judge(engine, StepInput(SequenceCache(), text(1, 70)))
    assert watch.tokens == [70, 70, 6, 70, 1, 6]


def test_more_rows_than_memory_are_refused_before_anything_is_computed(small, block_bytes):
    cache = SequenceCache()
    judge(small, StepInput(cache, text(1, 60)))
    watch = small.back_end._request = Watched(small.back_end._request)
    with pytest.raises(NoRoom) as caught:
        small.step([StepInput(cache, text(2, 60)), StepInput(SequenceCache(), text(3, 80))])
    expected = (
        f"2 sequences with 200 tokens in all need {7 * block_bytes} bytes of cache, more than its {6 * block_bytes}: "
        "run fewer sequences at once, or give a larger cache_budget"
    )
    assert (str(caught.value), isinstance(caught.value, Problem)) == (expected, True)
    assert (cache.tokens, watch.tokens) == (text(1, 60), [])
    judge(small, StepInput(cache, [5]))
    assert watch.tokens == [1]


def test_one_row_of_all_positions_always_fits(small):
    cache = SequenceCache()
    judge(small, StepInput(cache, text(1, 129)))
    fork = cache.fork()
    judge(small, StepInput(cache, [3], num_computed_tokens=100))
    judge(small, StepInput(fork, [4]))
    judge(small, StepInput(fork, text(5, 130), num_computed_tokens=0))


def test_caches_that_rest_lose_their_blocks_and_are_computed_again(small):
    caches = [SequenceCache() for _ in range(4)]
    for n, cache in enumerate(caches):
        judge(small, StepInput(cache, text(n, 60)))
    for n in range(8):
        judge(small, StepInput(caches[n % 4], [n]), StepInput(caches[(n + 1) % 4], [n]))


@pytest.mark.parametrize("blocks", [16, 60])
@pytest.mark.parametrize("seed", range(2))
def test_long_schedules_of_long_texts(ir, block_bytes, seed, blocks):
    engine = load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=blocks * block_bytes)
    rng = np.random.default_rng(seed)
    caches = [SequenceCache()]
    for _ in range(250):
        rows = []
        for i in rng.permutation(len(caches))[: rng.integers(1, 4)]:
            cache = caches[i].fork() if rng.random() < 0.2 else caches[i]
            num_tokens = len(cache.tokens)
            num_computed_tokens = (
                int(rng.integers(num_tokens + 1)) if rng.random() < 0.2 or num_tokens > 125 else num_tokens
            )
            most = int(rng.choice([2, 6, 40, 130]))
            new = rng.integers(0, 2, min(rng.integers(1, most), 130 - num_computed_tokens)).tolist()
            rows.append(
                StepInput(
                    cache,
                    new,
                    num_computed_tokens if num_computed_tokens < num_tokens else None,
                    logits_indices=[-1, 0] if rng.random() < 0.5 else [-1],
                )
            )
        judge(engine, *rows)
        caches = [*caches, *(row.cache for row in rows if row.cache not in caches)][-6:]
        if rng.random() < 0.3:
            caches.append(SequenceCache())
    rows, caches = [], []
    del cache, rows, caches
    gc.collect()
    assert engine.back_end.blocks.num_free_blocks() == blocks


def test_a_thousand_steps_leave_no_block_behind(engine):
    blocks = engine.back_end.blocks
    for n in range(1000):
        cache = SequenceCache()
        engine.step([StepInput(cache, text(n, 40))])
        engine.step([StepInput(cache.fork(), [1]), StepInput(cache, [2], num_computed_tokens=39)])
    del cache
    assert blocks.num_free_blocks() == blocks.count
    assert not blocks.tables


def test_what_a_block_held_before_does_not_show(ir, block_bytes):
    engine = load_engine(ir, config=ONE_THREAD, back_end="paged", cache_budget=12 * block_bytes)
    for memory in engine.back_end._memory:
        memory[:] = 0xFF  # as f32: no number
    one, two = SequenceCache(), SequenceCache()
    judge(engine, StepInput(one, text(1, 33), logits_indices=range(33)), StepInput(two, [3]))
    judge(engine, StepInput(one, [4]), StepInput(two, text(2, 32), logits_indices=range(32)))
    judge(engine, StepInput(one.fork(), [5]), StepInput(one, [6], num_computed_tokens=32))


@pytest.mark.parametrize("precision", ["u8", "f16"])
def test_caches_of_less_precision_are_shared_copied_and_cut_as_well(ir, precision):
    config = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": precision}
    engine = load_engine(ir, config=config, back_end="paged")
    assert (engine.back_end.name, engine.property_of_device("KV_CACHE_PRECISION")) == ("paged", precision)
    cache = SequenceCache()
    engine.step([StepInput(cache, text(1, 70))])
    fork = cache.fork()
    rows = [
        StepInput(cache, [3, 4], num_computed_tokens=69),
        StepInput(fork, [5]),
        StepInput(SequenceCache(), [*text(1, 64), 6]),
    ]
    wholes = [[*text(1, 69), 3, 4], [*text(1, 70), 5], [*text(1, 64), 6]]
    for logits, whole in zip(engine.step(rows), wholes, strict=True):
        expected = TOY.logits(whole)[-1:]
        assert np.abs(logits - expected).max() < 0.1 * np.ptp(expected)


def test_a_device_other_than_the_cpu_falls_back_and_says_so(ir):
    engine = load_engine(ir, "AUTO:CPU", back_end="paged", cache_budget=1 << 30)
    assert engine.back_end.name == "stateful"
    expected = f"{ir}: runs without a paged cache (cache_budget is ignored): it needs a CPU, and the device is AUTO:CPU"
    assert engine.fallback == expected


def test_an_openvino_that_has_it_no_more_falls_back_and_says_so(ir, monkeypatch):
    monkeypatch.setattr(paged_attention, "paged_attention_transformation", None)
    engine = load_engine(ir, config=ONE_THREAD, back_end="paged")
    judge(engine, StepInput(SequenceCache(), [1, 2, 3]))
    assert engine.back_end.name == "stateful"
    assert engine.fallback == f"{ir}: runs without a paged cache: this openvino has no paged attention"


def _forgets(model: ov.Model) -> None:
    """Transform, and lose every past."""
    paged_attention_transformation(model)
    for op in model.get_ordered_ops():
        if op.get_type_name() == "PagedAttentionExtension":
            zeros = ov.opset13.multiply(op.input_value(5), ov.opset13.constant(np.int32(0)))
            op.input(5).replace_source_output(zeros.output(0))


paged_attention_transformation = paged_attention.paged_attention_transformation


def test_an_openvino_that_answers_wrongly_falls_back_and_says_so(ir, monkeypatch):
    monkeypatch.setattr(paged_attention, "paged_attention_transformation", _forgets)
    engine = load_engine(ir, config=ONE_THREAD, back_end="paged")
    assert engine.back_end.name == "stateful"
    assert engine.fallback.endswith("its paged attention answers differently with a cache")


def test_a_model_without_attention_ops_is_recomputed_and_says_so(tmp_path):
    path = save(without_attention_ops(TOY.model(tmp_path)), tmp_path / "plain.xml")
    engine = load_engine(path, config=ONE_THREAD, back_end="paged")
    judge(engine, StepInput(SequenceCache(), [1, 2, 3]))
    assert engine.back_end.name == "recompute"
    reason = "cannot be given a key/value cache (found 0 ScaledDotProductAttention and 3 Range ops)"
    assert engine.fallback == f"{path}: {reason}: each token computes the whole text again"


def test_a_setting_that_the_device_refuses_is_a_problem_as_ever(ir):
    with pytest.raises(Problem, match="NO_SUCH_PROPERTY"):
        load_engine(ir, config={"NO_SUCH_PROPERTY": 1}, back_end="paged")

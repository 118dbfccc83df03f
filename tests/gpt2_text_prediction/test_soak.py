"""Thousands of generations of all kinds: memory must not grow, and no end of a model may crash: make soak."""

import gc
import random
from pathlib import Path

import pytest

from gpt2_text_prediction import Beams, Sampling, TextGenerator, TextRules
from support.command import run_process
from support.toy import Toy

STATM = Path("/proc/self/statm")
WORDS = ["the", "whale", "king", "and", "a", "of", "in", "sea", "ship", "lord", "god", "house", "é", "🎉"]
MOST_GROWTH = 4 << 20
"""Bytes: less than 1 KB for each generation of the second half, where there are 10,000 in all."""


def resident() -> int:  # bytes
    gc.collect()
    return int(STATM.read_text().split()[1]) * 4096


def generate(generator: TextGenerator, rng: random.Random) -> None:
    """Make a few tokens in one of the ways there are, all with shapes that come again."""
    prompt = " ".join(rng.choices(WORDS, k=rng.randrange(1, 10)))
    drawn = Sampling(seed=rng.randrange(100), top_k=rng.choice([0, 20]), repetition_penalty=rng.choice([1, 1.2]))
    kind = rng.randrange(6)
    if kind == 0:
        "".join(generator.stream(prompt, drawn, max_new_tokens=4))
    elif kind == 1:
        generator.generate([prompt, prompt[::-1]], drawn, max_new_tokens=3, num_return_sequences=2)
    elif kind == 2:
        generator.beam_search(prompt, Beams(num_beams=3), max_new_tokens=3)
    elif kind == 3:
        next(iter(generator.stream(prompt, drawn, max_new_tokens=8, rules=TextRules(stop=["zz"]))))
    elif kind == 4:
        generator.score(prompt)
    else:
        generator.next_tokens(prompt)


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_memory_stays_what_it_was(mini_ir, pytestconfig):
    count = pytestconfig.getoption("--generations")
    if not count:
        pytest.skip("make soak")
    rng = random.Random(0)
    with TextGenerator(mini_ir) as generator:
        for _ in range(count // 2):
            generate(generator, rng)
        before = resident()
        for _ in range(count // 2):
            generate(generator, rng)
        grown = resident() - before
    assert grown < MOST_GROWTH


def test_a_model_is_released_right_after_its_last_token(tmp_path, pytestconfig):
    """A small model hardly runs longer than its thread takes to end; without thread_end 1 process in 60 crashed."""
    count = pytestconfig.getoption("--generations") * 3 // 10
    if not count:
        pytest.skip("make soak")
    ir = Toy(n_layer=1).ir(tmp_path)
    for _ in range(count):
        with TextGenerator(ir) as generator:
            generator.generate(["the"], max_new_tokens=4)
    for _ in range(count):
        done = run_process("gpt2_text_prediction_demo", "-m", ir, "-i", "the", "-n", 4)
        assert done.returncode == 0, done.stderr

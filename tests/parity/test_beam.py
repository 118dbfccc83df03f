"""Our beam search, and greedy text with every penalty and ban, against transformers' generate on the same weights.

Exact mode (f32, f32 cache), toy models of random sizes, random settings, texts that end in the middle.
"""

import random
from collections import Counter

import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.generation.beam_search import Beams
from support.beams import beam_search
from support.toy import ONE_THREAD, Toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")

TOYS = [
    Toy(n_positions=40),
    Toy(n_layer=1, n_head=3, n_positions=40, vocab_size=257, seed=1),
    Toy(n_layer=3, n_head=1, n_embd=8, n_positions=24, vocab_size=260, seed=2),
    Toy(n_head=4, n_embd=16, n_positions=40, vocab_size=290, tied=False, seed=3),
]
SETTINGS_OF_A_TOY = 20
PROMPT = "the rain in"


@pytest.fixture(scope="module", params=TOYS, ids=lambda toy: f"seed {toy.seed}")
def pair(request, tmp_path_factory):
    """Return a toy, our generator and transformers' model of it."""
    folder = tmp_path_factory.mktemp("toy")
    with TextGenerator(request.param.ir(folder), config=ONE_THREAD) as ours:
        theirs = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        theirs.generation_config = transformers.GenerationConfig()
        yield request.param, ours, theirs


def generate(theirs, prompt: list[int], **settings):
    """Return transformers' new tokens of each sequence, and the scores of beams."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        found = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    return found.sequences[:, len(prompt) :].tolist(), getattr(found, "sequences_scores", None)


def random_beams(dice: random.Random, plain: bool) -> Beams:
    num_beams = dice.choice([2, 2, 3, 4, 5, 7])
    processing = {
        "repetition_penalty": dice.choice([1.0, 1.0, 1.4, 0.7]),
        "no_repeat_ngram_size": dice.choice([0, 0, 1, 2, 3]),
        "bad_words_ids": dice.choice([(), ([5], [7, 8], [dice.randrange(250)])]),
        "logit_bias": dice.choice([{}, {dice.randrange(250): 4.0, dice.randrange(250): -3.0}]),
        "min_new_tokens": dice.choice([0, 0, 1, 3]),
    }
    return Beams(
        num_beams=num_beams,
        length_penalty=dice.choice([1.0, 0.0, -1.0, 0.5, 2.0, 5.0]),
        early_stopping=dice.choice([False, True, "never"]),
        num_return_sequences=dice.randint(1, num_beams),
        **({} if plain else processing),
    )


def their_settings(beams: Beams) -> dict:
    names = ("num_beams", "length_penalty", "early_stopping", "num_return_sequences")
    found = {name: getattr(beams, name) for name in names} | {
        "repetition_penalty": beams.repetition_penalty,
        "no_repeat_ngram_size": beams.no_repeat_ngram_size,
        "min_new_tokens": beams.min_new_tokens,
    }
    if beams.bad_words_ids:
        found["bad_words_ids"] = [list(word) for word in beams.bad_words_ids]
    if beams.logit_bias:
        found["sequence_bias"] = [[[token], value] for token, value in beams.logit_bias.items()]
    return found


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "with penalties and bans"])
def test_the_best_continuations_are_theirs_in_tokens_order_and_score(pair, plain):
    toy, ours, theirs = pair
    dice = random.Random(toy.seed)
    reasons: Counter[str] = Counter()
    for _ in range(SETTINGS_OF_A_TOY):
        beams = random_beams(dice, plain)
        prompt = [dice.randrange(toy.vocab_size) for _ in range(dice.randint(1, 8))]
        count = dice.randint(max(1, beams.min_new_tokens), 14)
        endless = beam_search(ours.engine, prompt, beams, count, ())
        eos = dice.choice([None, *(token for one in endless for token in one.tokens)])
        ids, scores = generate(
            theirs, prompt, max_new_tokens=count, eos_token_id=eos, pad_token_id=0, **their_settings(beams)
        )
        found = beam_search(ours.engine, prompt, beams, count, () if eos is None else (eos,))
        assert len(found) == len(ids) == beams.num_return_sequences
        for one, row, score in zip(found, ids, scores.tolist(), strict=True):
            assert one.tokens == row[: len(one.tokens)], (beams, prompt, count, eos)
            assert one.score == pytest.approx(score, rel=1e-4, abs=1e-4)
            assert one.finish_reason == "stop" or len(one.tokens) == count
            assert eos not in one.tokens[:-1]
        reasons.update(one.finish_reason for one in found)
        reasons["in the middle"] += any(one.finish_reason == "stop" and 1 < len(one.tokens) < count for one in found)
    assert min(reasons[reason] for reason in ("stop", "length", "in the middle")) >= 5, reasons


GREEDY = [
    {"repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 0.6, "no_repeat_ngram_size": 3, "min_new_tokens": 6},
    {"logit_bias": {40: 20.0, 41: 19.0}, "repetition_penalty": 3.0},
    {"logit_bias": {40: 30.0, 41: 29.0}, "bad_words_ids": [[40, 40], [41, 41], [40, 41, 40]]},
    {"min_new_tokens": 12},
    {"ignore_eos": True},
]


@pytest.mark.parametrize("settings", GREEDY, ids=str)
def test_greedy_text_with_penalties_and_bans_is_theirs(pair, settings):
    toy, ours, theirs = pair
    prompt = ours.tokenizer.encode(PROMPT)
    plain = toy.greedy(prompt, 12)
    for eos in (plain[2], plain[0], toy.end_of_text_id):
        ours.eos_token_ids = () if eos is None else (eos,)
        stream = ours.stream(PROMPT, Sampling(temperature=0, **settings), max_new_tokens=12)
        list(stream)
        wanted = {name: value for name, value in settings.items() if name not in ("logit_bias", "ignore_eos")}
        if "logit_bias" in settings:
            wanted["sequence_bias"] = [[[token], value] for token, value in settings["logit_bias"].items()]
        last = None if "ignore_eos" in settings else eos
        ((*ids,), _) = generate(theirs, prompt, max_new_tokens=12, eos_token_id=last, pad_token_id=0, **wanted)
        assert [stream.tokens] == ids


def test_texts_of_all_kinds_in_one_call_are_theirs_with_their_log_probabilities(pair):
    toy, ours, theirs = pair
    ours.eos_token_ids = ()
    dice = random.Random(toy.seed)
    prompts = [[dice.randrange(250) for _ in range(dice.randint(1, 12))] for _ in range(9)]
    kinds = [Sampling(temperature=0), Beams(num_beams=3, num_return_sequences=2), Sampling(temperature=0)]
    count = 8
    results = ours.generate(prompts, kinds * 3, max_new_tokens=count, prompt_logprobs=0)
    for number, (prompt, kind) in enumerate(zip(prompts, kinds * 3, strict=True)):
        mine = [result for result in results if result.prompt == number]
        beams = {"num_beams": 3, "num_return_sequences": 2} if isinstance(kind, Beams) else {}
        ids, _ = generate(theirs, prompt, max_new_tokens=count, eos_token_id=None, pad_token_id=0, **beams)
        assert [result.tokens for result in mine] == ids
        for result in mine:
            whole = torch.tensor([[*prompt, *result.tokens]])
            with torch.inference_mode():
                rows = theirs(whole).logits[0].log_softmax(-1)
            expected = rows[:-1].gather(1, whole[0, 1:, None])[:, 0].numpy()
            assert result.prompt_logprobs[1:] == pytest.approx(expected[: len(prompt) - 1], abs=1e-4)
            assert result.logprobs == pytest.approx(expected[len(prompt) - 1 :], abs=1e-4)

"""Texts past the model's positions: refused, cut or slid over, against the oracle on the window that counts."""

import pytest

from gpt2_text_prediction import Beams, Problem, Sampling, TextGenerator, TextRules
from gpt2_text_prediction.settings_by_name import make_settings
from support.toy import ONE_THREAD, Toy, save, without_attention_ops

TOY = Toy(n_positions=16)
GREEDY = Sampling(temperature=0, ignore_eos=True)
PROMPT = "the rest in"
SLIDE, TRUNCATE = (TextRules(context_overflow=one) for one in ("slide", "truncate"))


@pytest.fixture(scope="module", params=["paged", "stateful", "static", "recompute"])
def generator(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    change = without_attention_ops if request.param == "recompute" else lambda model: model
    ir = save(change(TOY.model(folder)), folder / "toy.xml")
    back_end = "stateful" if request.param == "recompute" else request.param
    with TextGenerator(ir, config=ONE_THREAD, back_end=back_end) as found:
        yield found


def slid(prompt: list[int], count: int) -> list[int]:
    """Return the likeliest continuation where the last half of the positions counts whenever they are full."""
    window, new = list(prompt), []
    for _ in range(count):
        if len(window) > TOY.n_positions:
            window = window[-(TOY.n_positions // 2) :]
        new.append(int(TOY.logits(window)[-1].argmax()))
        window.append(new[-1])
    return new


@pytest.mark.parametrize("count", [4, 8, 9, 10, 17, 18, 40])
def test_sliding_goes_on_with_the_last_half(generator, count):
    prompt = generator.tokenizer.encode(PROMPT)
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=count, rules=SLIDE)
    text = "".join(stream)
    assert stream.tokens == slid(prompt, count)
    assert text == generator.tokenizer.decode(stream.tokens)
    assert (stream.finish_reason, stream.out_of_positions) == ("length", False)
    results = generator.generate([PROMPT] * 2, GREEDY, max_new_tokens=count, rules=SLIDE)
    assert [one.tokens for one in results] == [stream.tokens] * 2
    assert [len(one.logprobs) for one in results] == [count] * 2


def test_samples_that_share_a_prompt_slide_apart(generator):
    drawn = Sampling(temperature=1.5, seed=3, ignore_eos=True)
    results = generator.generate([PROMPT], drawn, max_new_tokens=30, num_return_sequences=3, rules=SLIDE)
    for sample, one in enumerate(results):
        stream = generator.stream(PROMPT, drawn, max_new_tokens=30, rules=SLIDE, index=(0, sample))
        assert "".join(stream) == one.text
        assert stream.tokens == one.tokens
    assert len({one.text for one in results}) == 3


@pytest.mark.parametrize("rules", [SLIDE, TRUNCATE])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_of_a_prompt_that_is_too_long_its_end_counts(generator, rules, count):
    long = "abcdefgh" * 5
    fits = max(TOY.n_positions + 1 - count, TOY.n_positions // 2)
    stream = generator.stream(long, GREEDY, max_new_tokens=count, rules=rules)
    list(stream)
    kept = generator.tokenizer.encode(long)[-fits:]
    assert stream.prompt_tokens == kept
    assert long[stream.cut :] == generator.tokenizer.decode(kept)
    expected = slid(kept, count) if rules is SLIDE else TOY.greedy(kept, min(count, TOY.n_positions + 1 - fits))
    assert stream.tokens == expected
    (result,) = generator.generate([long], GREEDY, max_new_tokens=count, rules=rules)
    assert (result.tokens, result.cut) == (expected, stream.cut)
    ids = generator.tokenizer.encode(long)
    (of_ids,) = generator.generate(ids, GREEDY, max_new_tokens=count, rules=rules)
    assert (of_ids.tokens, of_ids.cut) == (expected, len(ids) - len(kept))


@pytest.mark.parametrize(("count", "begun"), [(1, 0), (4, 3), (5, 0), (6, 1), (7, 2)])
def test_of_a_character_whose_beginning_is_cut_nothing_is_kept(generator, count, begun):
    """Of 4 tokens each, as the toy has no merges for them; `begun` of the first's are cut."""
    long = "🎉" * 9
    assert len(generator.tokenizer.encode(long)) == 36
    fits = max(TOY.n_positions + 1 - count, TOY.n_positions // 2)
    assert -fits % 4 == begun
    stream = generator.stream(long, GREEDY, max_new_tokens=count, rules=TRUNCATE)
    assert stream.cut == 9 - fits // 4


def test_a_prompt_that_fits_is_not_cut(generator):
    for rules in (SLIDE, TRUNCATE):
        assert generator.stream(PROMPT, rules=rules, max_new_tokens=2).cut == 0


def test_without_a_rule_a_long_prompt_is_refused(generator):
    with pytest.raises(Problem, match=r"^the prompt has 40 tokens; at most 16 fit: shorten it$"):
        generator.stream("abcdefgh" * 5)


def test_beams_cut_a_prompt_but_cannot_slide(generator):
    (found,) = generator.beam_search("abcdefgh" * 5, Beams(num_beams=2), max_new_tokens=4, rules=TRUNCATE)
    assert len(found.tokens) <= 4
    assert found.cut == 27
    with pytest.raises(Problem, match=r"^context_overflow: beams cannot slide"):
        generator.beam_search(PROMPT, rules=SLIDE)


def test_the_end_of_a_text_in_a_prompt_is_the_token_only_where_it_is_asked_for(generator):
    text = "a<|endoftext|>b"
    special = generator.stream(text, rules=TextRules(parse_special=True)).prompt_tokens
    assert special == [*generator.tokenizer.encode("a"), TOY.end_of_text_id, *generator.tokenizer.encode("b")]
    assert TOY.end_of_text_id not in generator.stream(text, rules=TextRules(context_overflow="truncate")).prompt_tokens


@pytest.mark.parametrize("kind", ["stream", "generate", "beams"])
def test_a_stop_string_ends_each_kind_of_text(generator, kind):
    whole = generator.generate([PROMPT], GREEDY, max_new_tokens=9)[0]
    stop = whole.text[3:6]
    rules = TextRules(stop=[stop])
    if kind == "stream":
        found = generator.stream(PROMPT, GREEDY, max_new_tokens=9, rules=rules)
        text = "".join(found)
    elif kind == "generate":
        (found,) = generator.generate([PROMPT], GREEDY, max_new_tokens=9, rules=rules)
        text = found.text
    else:
        (found,) = generator.beam_search(PROMPT, Beams(num_beams=1, ignore_eos=True), max_new_tokens=9, rules=rules)
        text = found.text
    assert text == whole.text[: whole.text.find(stop)]
    assert found.finish_reason == "stop"
    assert found.tokens == whole.tokens[: len(found.tokens)]
    assert len(found.tokens) < 9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda g: g.generate([PROMPT], {"top_k": 3}),
            "sampling: expected a Sampling or Beams, got dict: {'top_k': 3}",
        ),
        (lambda g: g.stream(PROMPT, Beams()), "num_beams: beams have no text before their end: call generate"),
        (lambda g: g.beam_search(PROMPT, Sampling()), "expected a Beams, got Sampling: "),
        (lambda g: g.stream(PROMPT, rules={"stop": ["a"]}), "rules: expected a TextRules, got dict: "),
        (lambda g: g.stream(3), "expected a text or token ids, got int: 3"),
        (lambda g: g.score(None), "expected a text or token ids, got NoneType: None"),
        (lambda g: g.next_tokens(b"a"), "expected a text or token ids, got bytes: b'a'"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_problem(generator, call, message):
    with pytest.raises(Problem) as caught:
        call(generator)
    assert message in str(caught.value)


def test_a_model_of_one_position_is_a_problem(tmp_path):
    path = Toy(n_positions=1).ir(tmp_path)
    with pytest.raises(Problem) as caught:
        TextGenerator(path)
    assert str(caught.value) == f"{path}: has one position; expected at least 2, for a token and the one after it"


def test_a_token_id_of_thousands_of_digits_is_no_id():
    with pytest.raises(Problem, match=r"^logit_bias: expected a number or -inf for each token id"):
        make_settings({"logit_bias": {"9" * 5000: 1.0}})

"""gpt2_text_prediction.generator: the oracle's continuation, and every reason to stop."""

import itertools
import json
import shutil
from dataclasses import replace

import openvino as ov
import pytest
from toy import EXACT, Toy, save, without_attention_ops

from gpt2_text_prediction import Problem, Sampling, Stream, TextGenerator
from gpt2_text_prediction.generator import configuration, find_tokenizer_files

TOY = Toy(n_positions=24)
GREEDY = Sampling(temperature=0)
PROMPT = "the rain in"


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def generator(ir):
    with TextGenerator(ir, config=EXACT) as loaded:
        yield loaded


def finished(stream: Stream) -> tuple[str, Stream]:
    return "".join(stream), stream


def end_after(tokens: list[int], prompt: list[int], count: int) -> int:
    """A token of a continuation that would end it after `count` others or more, and is new to the text."""
    return next(t for n, t in enumerate(tokens) if n >= count and t not in prompt and t not in tokens[:n])


@pytest.mark.parametrize("change", [lambda m: m, without_attention_ops], ids=["stateful", "recompute"])
def test_greedy_text_is_the_oracles(tmp_path, change):
    path = save(change(TOY.model(tmp_path)), tmp_path / "toy.xml")
    for prompt in (PROMPT, "a", "日本 ", "\n\n"):
        with TextGenerator(path, config=EXACT) as generator:
            text, stream = finished(generator.stream(prompt, GREEDY, max_new_tokens=8))
        assert stream.prompt_tokens == generator.tokenizer.encode(prompt)
        assert stream.tokens == TOY.greedy(stream.prompt_tokens, 8)
        assert text == generator.tokenizer.decode(stream.tokens)


def test_it_stops_at_max_new_tokens(generator):
    text, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=3))
    assert len(stream.tokens) == 3
    assert (stream.finish_reason, stream.out_of_positions) == ("length", False)
    assert text == generator.tokenizer.decode(stream.tokens)


def test_it_stops_where_the_positions_end(generator):
    _, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=1000))
    assert len(stream.prompt_tokens) + len(stream.tokens) == 24
    assert (stream.finish_reason, stream.out_of_positions) == ("length", True)
    assert stream.tokens == TOY.greedy(stream.prompt_tokens, len(stream.tokens))


def test_the_end_of_the_positions_is_told_even_where_max_new_tokens_ends_too(generator):
    room = 24 - len(generator.tokenizer.encode(PROMPT))
    assert finished(generator.stream(PROMPT, GREEDY, max_new_tokens=room))[1].out_of_positions
    assert not finished(generator.stream(PROMPT, GREEDY, max_new_tokens=room - 1))[1].out_of_positions


def test_a_smaller_max_seq_len_is_where_the_positions_end(ir):
    with TextGenerator(ir, config=EXACT, max_seq_len=12) as generator:
        _, stream = finished(generator.stream(PROMPT, GREEDY))
    assert len(stream.prompt_tokens) + len(stream.tokens) == 12
    assert stream.out_of_positions


@pytest.mark.parametrize("facts", [True, False], ids=["told by the facts", "told by the vocabulary"])
def test_it_stops_at_the_end_of_text_which_is_in_neither_tokens_nor_text(tmp_path, generator, facts):
    prompt = generator.tokenizer.encode(PROMPT)
    continuation = TOY.greedy(prompt, 12)
    end = end_after(continuation, prompt, 2)
    toy = replace(TOY, eos_token_id=end)
    model = toy.model(tmp_path)
    if not facts:
        model = ov.Model(model.get_results(), model.get_parameters(), "foreign")
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=EXACT) as ending:
        assert ending.eos_token_id == end
        text, stream = finished(ending.stream(PROMPT, GREEDY))
    assert stream.tokens == continuation[: continuation.index(end)]
    assert (stream.finish_reason, stream.out_of_positions) == ("stop", False)
    assert text == ending.tokenizer.decode(stream.tokens)
    assert "endoftext" not in text
    assert len(stream.times) == len(stream.tokens) + 2


def test_the_fact_wins_over_the_vocabulary(tmp_path, generator):
    prompt = generator.tokenizer.encode(PROMPT)
    end = end_after(TOY.greedy(prompt, 12), prompt, 1)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=EXACT) as ending:
        assert finished(ending.stream(PROMPT, GREEDY))[1].finish_reason == "stop"


def test_the_end_of_text_as_the_very_first_token_gives_no_text(tmp_path, generator):
    prompt = generator.tokenizer.encode("a")
    (end,) = TOY.greedy(prompt, 1)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=EXACT) as ending:
        text, stream = finished(ending.stream("a", GREEDY))
    assert (text, stream.tokens, stream.finish_reason) == ("", [], "stop")


def test_a_prompt_may_leave_room_for_one_token_only(generator):
    prompt = "z" * 23
    assert len(generator.tokenizer.encode(prompt)) == 23
    _, stream = finished(generator.stream(prompt, GREEDY))
    assert len(stream.tokens) == 1
    assert stream.out_of_positions


@pytest.mark.parametrize("length", [24, 25, 1000])
def test_a_prompt_that_leaves_no_room_is_a_problem_with_the_numbers(generator, length):
    with pytest.raises(Problem, match=rf"{length} tokens; at most 23 fit"):
        generator.stream("z" * length)


def test_an_empty_prompt_starts_a_new_text(generator):
    text, stream = finished(generator.stream("", GREEDY, max_new_tokens=4))
    assert stream.prompt_tokens == [TOY.end_of_text_id]
    assert stream.tokens == TOY.greedy([TOY.end_of_text_id], 4)
    assert text == generator.tokenizer.decode(stream.tokens)


def test_an_empty_prompt_needs_an_end_of_text(tmp_path):
    model = TOY.model(tmp_path)
    bare = ov.Model(model.get_results(), model.get_parameters(), "bare")
    path = save(bare, tmp_path / "bare.xml")
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    vocabulary["other"] = vocabulary.pop("<|endoftext|>")
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    with TextGenerator(path, config=EXACT) as generator:
        assert generator.eos_token_id is None
        with pytest.raises(Problem, match="prompt is empty"):
            generator.stream("")
        assert finished(generator.stream("a", GREEDY))[1].out_of_positions


def test_the_name_of_the_end_of_text_in_a_prompt_is_text(generator):
    assert TOY.end_of_text_id not in generator.stream("<|endoftext|>").prompt_tokens


def test_a_prompt_that_is_no_unicode_is_a_problem(generator):
    with pytest.raises(Problem, match="UTF-8"):
        generator.stream("\udcff")


@pytest.mark.parametrize("count", [0, -1])
def test_no_new_tokens_are_a_problem(generator, count):
    with pytest.raises(Problem, match=f"max_new_tokens: .*got {count}"):
        generator.stream(PROMPT, max_new_tokens=count)


def test_the_same_seed_gives_the_same_text_whatever_comes_between(generator):
    sampling = Sampling(seed=11)
    first = finished(generator.stream(PROMPT, sampling, max_new_tokens=10))
    finished(generator.stream("else", Sampling(seed=3), max_new_tokens=5))
    second = finished(generator.stream(PROMPT, sampling, max_new_tokens=10))
    assert first[0] == second[0]
    assert first[1].tokens == second[1].tokens
    assert first[1].seed == second[1].seed == 11


def test_other_seeds_and_other_places_draw_other_texts(generator):
    texts = [
        tuple(finished(generator.stream(PROMPT, Sampling(seed=seed, top_p=1), index=index))[1].tokens)
        for seed, index in itertools.product((1, 2), ((0, 0), (0, 1), (1, 0), (1, 1)))
    ]
    assert len(set(texts)) == len(texts)


def test_without_a_seed_each_text_has_its_own_which_makes_it_again(generator):
    streams = [finished(generator.stream(PROMPT))[1] for _ in range(3)]
    assert len({stream.seed for stream in streams}) == 3
    again = finished(generator.stream(PROMPT, Sampling(seed=streams[0].seed)))[1]
    assert again.tokens == streams[0].tokens


def test_two_streams_taken_in_turns_do_not_disturb_each_other(generator):
    alone = [finished(generator.stream(prompt, GREEDY, max_new_tokens=6))[1].tokens for prompt in (PROMPT, "else")]
    streams = [generator.stream(prompt, GREEDY, max_new_tokens=6) for prompt in (PROMPT, "else")]
    for _ in itertools.zip_longest(*streams):
        pass
    assert [stream.tokens for stream in streams] == alone


def test_text_is_made_as_it_is_asked_for(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10)
    assert (stream.tokens, stream.finish_reason, stream.times) == ([], None, [])
    piece = next(iter(stream))
    assert generator.tokenizer.decode(stream.tokens).startswith(piece.rstrip("\ufffd"))
    assert 1 <= len(stream.tokens) < 10
    assert stream.finish_reason is None


def test_no_piece_is_empty_and_together_they_are_the_text(generator):
    for seed in range(10):
        stream = generator.stream(PROMPT, Sampling(seed=seed, temperature=3.0, top_p=1))
        pieces = list(stream)
        assert all(pieces)
        assert "".join(pieces) == generator.tokenizer.decode(stream.tokens)


def test_the_clock_is_read_at_the_start_and_after_each_step(generator):
    ticks = itertools.count()
    _, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=5, clock=lambda: next(ticks)))
    assert stream.times == [0, 1, 2, 3, 4, 5]


def test_broken_weights_are_a_problem_of_the_stream(tmp_path):
    toy = Toy(seed=78)
    toy.state["ln_f.bias"][0] = float("nan")
    with (
        TextGenerator(toy.ir(tmp_path), config=EXACT) as generator,
        pytest.raises(Problem, match="NaN or infinity"),
    ):
        list(generator.stream("a"))


def test_another_vocabulary_is_a_problem_with_both_sizes(ir, tmp_path):
    Toy(vocab_size=290).write_vocabulary(tmp_path)
    with pytest.raises(Problem, match="300 tokens, its tokenizer 290"):
        TextGenerator(ir, vocab=tmp_path / "vocab.json", merges=tmp_path / "merges.txt")


def test_an_end_of_text_past_the_vocabulary_does_not_start_a_text(tmp_path):
    model = TOY.model(tmp_path)
    model.set_rt_info("300", ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=EXACT) as generator:
        assert list(generator.stream("", GREEDY, max_new_tokens=3))


def test_files_are_found_beside_the_ir(ir):
    assert find_tokenizer_files(ir, None, None) == (ir.parent / "vocab.json", ir.parent / "merges.txt")


def test_files_that_are_given_win(ir, tmp_path):
    shutil.copy(ir.parent / "vocab.json", tmp_path / "v")
    shutil.copy(ir.parent / "merges.txt", tmp_path / "m")
    assert find_tokenizer_files(ir, tmp_path / "v", None) == (tmp_path / "v", ir.parent / "merges.txt")
    assert find_tokenizer_files(ir, None, str(tmp_path / "m")) == (ir.parent / "vocab.json", tmp_path / "m")
    with TextGenerator(str(ir), vocab=str(tmp_path / "v"), merges=str(tmp_path / "m"), config=EXACT) as generator:
        assert generator.tokenizer.vocab_size == 300


@pytest.mark.parametrize(("name", "flag"), [("vocab.json", "--vocab"), ("merges.txt", "--merges")])
def test_a_missing_file_is_a_problem_that_tells_where_it_was_looked_for(ir, tmp_path, name, flag):
    shutil.copytree(ir.parent, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(Problem) as caught:
        TextGenerator(tmp_path / "copy/toy.xml")
    assert str(caught.value).startswith(f"{tmp_path / 'copy' / name}: ")
    assert flag in str(caught.value)


def test_a_given_file_that_is_missing_is_not_replaced_by_the_one_beside_the_ir(ir, tmp_path):
    with pytest.raises(Problem) as caught:
        TextGenerator(ir, vocab=tmp_path / "nowhere.json")
    assert str(caught.value).startswith(f"{tmp_path / 'nowhere.json'}: ")


def test_a_missing_model_is_a_problem(tmp_path):
    Toy().write_vocabulary(tmp_path)
    with pytest.raises(Problem, match="no such model file"):
        TextGenerator(tmp_path / "missing.xml")


@pytest.mark.parametrize(
    ("device", "config"),
    [("CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f16"}), ("GPU.0", {}), ("AUTO", {})],
)
def test_the_default_settings_are_exact_arithmetic_on_a_cpu(device, config):
    assert configuration(device) == config


def test_the_default_settings_are_in_force(ir):
    with TextGenerator(ir) as generator:
        assert generator.engine.property_of_device("INFERENCE_PRECISION_HINT") == "f32"


def test_a_closed_generator_lets_go_of_its_model(ir):
    with TextGenerator(ir) as generator:
        pass
    with pytest.raises(AttributeError):
        generator.stream("a")

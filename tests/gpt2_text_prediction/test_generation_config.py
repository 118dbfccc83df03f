"""generation_config: a model's own defaults, what overrides them, and all tokens that end its texts."""

import json

import numpy as np
import pytest

from gpt2_text_prediction import Beams, Problem, Sampling, TextGenerator
from gpt2_text_prediction.generation_config import ignored_names, read_generation_config
from gpt2_text_prediction.settings_by_name import make_settings
from gpt2_text_prediction.text import GPT2Tokenizer
from support.toy import ONE_THREAD, Toy, save

TOY = Toy(n_positions=24)
PROMPT = "the rest"


def written(folder, **fields):
    """Write a generation_config.json; return the path of the model beside it."""
    (folder / "generation_config.json").write_text(json.dumps(fields))
    return folder / "model.xml"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"eos_token_id": 50256, "_from_model_config": True}, {}),
        ({"do_sample": True, "temperature": 0.7, "top_k": 50}, {"temperature": 0.7, "top_k": 50}),
        ({"temperature": 0.7}, {}),  # transformers draws with do_sample only
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0}),
        ({"num_beams": 4, "do_sample": True, "top_p": 0.5}, {"num_beams": 4}),
        ({"do_sample": True, "top_p": None, "max_new_tokens": 7}, {"max_new_tokens": 7}),
        (
            {"repetition_penalty": 1.2, "early_stopping": "never"},
            {"repetition_penalty": 1.2, "early_stopping": "never"},
        ),
    ],
)
def test_its_settings_are_those_that_transformers_follows(tmp_path, fields, expected):
    assert read_generation_config(written(tmp_path, **fields)) == expected


def test_what_would_change_the_texts_and_is_not_followed_is_named(tmp_path):
    used = {"do_sample": True, "top_k": 5, "num_beams": 1, "eos_token_id": 3, "transformers_version": "5.0"}
    neutral = {"max_length": 20, "num_beam_groups": 1, "diversity_penalty": 0.0, "suppress_tokens": None}
    assert ignored_names(written(tmp_path, **used, **neutral)) == []
    others = {"suppress_tokens": [7], "max_length": 50, "num_return_sequences": 2}
    assert ignored_names(written(tmp_path, **used, **others)) == [
        "max_length",
        "num_return_sequences",
        "suppress_tokens",
    ]


def test_without_the_file_there_are_none(tmp_path):
    assert ignored_names(tmp_path / "model.xml") == []
    assert read_generation_config(tmp_path / "model.xml") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON: "),
        ("[]", "expected a JSON object, got list"),
        ('{"max_new_tokens": -1}', "max_new_tokens: expected a whole number from 0, got -1"),
        ('{"do_sample": true, "top_p": "x"}', "top_p: expected a number from 0 to 1 (all tokens), got 'x'"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "generation_config.json"
    path.write_text(content)
    with pytest.raises(Problem) as caught:
        read_generation_config(tmp_path / "model.xml")
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("given", "defaults", "expected"),
    [
        ({}, {"temperature": 0.5, "max_new_tokens": 9}, (Sampling(temperature=0.5), 9)),
        ({"temperature": 2.0}, {"temperature": 0.5}, (Sampling(temperature=2.0), 40)),
        ({"num_beams": 3}, {"temperature": 0.5, "top_k": 4}, (Beams(num_beams=3), 40)),
        ({"top_k": 3}, {"num_beams": 4, "length_penalty": 2.0}, (Sampling(top_k=3), 40)),
        ({"max_new_tokens": 2}, {"min_new_tokens": 5}, (Sampling(), 2)),
    ],
)
def test_what_is_given_overrides_the_defaults_that_contradict_it(given, defaults, expected):
    found = make_settings(given, defaults=defaults)
    assert (found.how, found.max_new_tokens) == expected


@pytest.fixture(scope="module")
def prompt(tmp_path_factory) -> list[int]:
    """Return the tokens of PROMPT."""
    folder = tmp_path_factory.mktemp("vocabulary")
    TOY.write_vocabulary(folder)
    return GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt").encode(PROMPT)


@pytest.fixture(scope="module")
def expected(prompt) -> tuple[list[int], int]:
    """Return the oracle's greedy tokens after PROMPT, and the first index at which one has not come before."""
    tokens = TOY.greedy(prompt, 8)
    return tokens, next(i for i, token in enumerate(tokens) if i and token not in tokens[:i])


def loaded(folder, **fields) -> TextGenerator:
    """Load the toy as it is converted with a generation_config.json of these fields."""
    folder.mkdir()
    (folder / "generation_config.json").write_text(json.dumps(fields))
    return TextGenerator(TOY.ir(folder), config=ONE_THREAD)


def test_each_of_several_end_tokens_ends_a_text_drawn_or_searched(tmp_path, expected):
    tokens, last = expected
    with loaded(tmp_path / "toy", eos_token_id=[299, tokens[last]]) as generator:
        assert generator.eos_token_ids == (299, tokens[last])
        (drawn,) = generator.generate([PROMPT], Sampling(temperature=0), max_new_tokens=8)
        (beam,) = generator.beam_search(PROMPT, Beams(num_beams=1), max_new_tokens=8)
        longer = generator.generate([PROMPT], Sampling(temperature=0, ignore_eos=True), max_new_tokens=8)[0]
    for result in (drawn, beam):
        assert (result.tokens, result.finish_reason) == (tokens[: last + 1], "stop")
    assert longer.tokens == tokens


def test_eos_token_id_replaces_the_models_and_stop_token_ids_add_to_it(tmp_path, expected):
    tokens, last = expected
    with loaded(tmp_path / "toy") as generator:

        def new_tokens(**settings) -> list[int]:
            return generator.generate([PROMPT], Sampling(temperature=0, **settings), max_new_tokens=8)[0].tokens

        assert new_tokens() == tokens
        assert new_tokens(eos_token_id=tokens[last]) == tokens[: last + 1]
        assert new_tokens(eos_token_id=[299, tokens[last]]) == tokens[: last + 1]
        assert new_tokens(eos_token_id=tokens[last], ignore_eos=True) == tokens
        assert new_tokens(stop_token_ids=[tokens[last]], ignore_eos=True) == tokens[: last + 1]
        with pytest.raises(Problem, match=r"stop_token_ids: expected token ids of 0 \.\. 299, got 300$"):
            new_tokens(stop_token_ids=[300])
    for name, value in {"eos_token_id": "x", "stop_token_ids": [-1]}.items():
        with pytest.raises(Problem, match=f"^{name}: expected token ids, got "):
            Sampling(**{name: value})


def test_min_new_tokens_bans_every_token_that_ends_the_text(tmp_path, prompt, expected):
    tokens, last = expected
    with loaded(tmp_path / "toy", eos_token_id=[299, tokens[last]]) as generator:
        sampling = Sampling(temperature=0, min_new_tokens=last + 1)
        (found,) = generator.generate([PROMPT], sampling, max_new_tokens=8)
    logits = TOY.logits([*prompt, *tokens[:last]])[-1]
    logits[[299, tokens[last]]] = -np.inf
    assert found.tokens[: last + 1] == [*tokens[:last], int(logits.argmax())]


def test_an_empty_prompt_begins_with_the_bos_token(tmp_path):
    with loaded(tmp_path / "toy", bos_token_id=7) as generator:
        (found,) = generator.generate([""], Sampling(temperature=0), max_new_tokens=4)
    assert found.tokens == TOY.greedy([7], 4)


def test_its_sampling_is_used_where_python_gives_none(tmp_path, expected):
    tokens, _ = expected
    with loaded(tmp_path / "toy", do_sample=False) as generator:
        assert generator.default_sampling == Sampling(temperature=0)
        assert generator.generate([PROMPT], max_new_tokens=8)[0].tokens == tokens
        assert generator.generate([PROMPT], Sampling(seed=1), max_new_tokens=8)[0].tokens != tokens


def test_an_older_ir_names_its_one_end_token(tmp_path, expected):
    tokens, last = expected
    model = TOY.model(tmp_path)
    model.set_rt_info("", ["omz_gpt2", "eos_token_ids"])
    model.set_rt_info(str(tokens[last]), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as generator:
        assert generator.eos_token_ids == (tokens[last],)


def test_the_demo_says_the_defaults_it_takes_and_leaves_them_when_told(run, tmp_path, expected):
    tokens, _ = expected
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": False, "max_new_tokens": 3}))
    ir = TOY.ir(tmp_path)
    command = ("gpt2_text_prediction_demo", "-m", ir, "-i", PROMPT, "-r")
    for done, count in ((run(*command), 3), (run(*command, "-n", 5), 5)):
        said = done.stderr.decode()
        assert "Defaults of the model's generation_config.json (--no_generation_config ignores them): " in said
        assert "max_new_tokens 3, temperature 0\n" in said
        assert f"new tokens: {tokens[:count]}" in said
    (tmp_path / "generation_config.json").write_text("{")
    assert run(*command).stderr.decode().startswith(f"[ ERROR ] {tmp_path}/generation_config.json: is not JSON: ")
    ignoring = run(*command, "--no_generation_config", "--temperature", 0)
    assert "generation_config" not in ignoring.stderr.decode()
    assert f"new tokens: {tokens[:8]}"[:-1] in ignoring.stderr.decode()

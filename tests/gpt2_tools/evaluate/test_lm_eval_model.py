"""lm_eval_model: numbers of the numpy oracle, and with the harness installed its own `hf` on the same weights."""

import importlib.metadata
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.lm_eval_model import Model, _set_by_errors
from support import DATA
from support.command import run_process
from support.toy import Toy

HELDOUT = DATA / "gpt-2-mini/heldout.txt"
TOY = Toy(n_positions=16)
needs_harness = pytest.mark.extras("lm_eval")


class Kept(dict):
    """The harness's cache of answers, which later runs read."""

    def add_partial(self, kind, request, answer):
        self[(kind, *request)] = answer


class Base:
    """What the harness's own base class has for us."""

    def __init__(self):
        self.cache_hook = Kept()


class Testee(Model, Base):
    __test__ = False


@pytest.fixture(scope="module")
def toy_ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("toy"))


def oracle(ids: list[int], wanted: int) -> tuple[float, bool]:
    """What the numpy GPT-2 says of the last tokens; the last one needs no position."""
    logits = TOY.logits(ids[:-1])[-wanted:]
    norms = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    labels = np.array(ids[-wanted:])
    return float((logits[np.arange(wanted), labels] - norms).sum()), bool((logits.argmax(-1) == labels).all())


def request_of(before: list[int], wanted: list[int]):
    return (str(before), str(wanted)), before, wanted


@pytest.mark.parametrize("batch_size", [1, "2", 9])
def test_continuations_come_back_in_their_order_and_are_kept(toy_ir, batch_size):
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 300, n).tolist(), rng.integers(0, 300, m).tolist()) for n, m in ((3, 2), (9, 1), (1, 6))]
    pairs.append(([5, 6], TOY.greedy([5, 6], 3)))
    model = Testee(pretrained=str(toy_ir), batch_size=batch_size)
    found = model._loglikelihood_tokens([request_of(*pair) for pair in pairs])
    for (before, wanted), (logprob, greedy) in zip(pairs, found, strict=True):
        expected = oracle(before + wanted, len(wanted))
        assert (logprob, greedy) == (pytest.approx(expected[0], abs=1e-3), expected[1])
        assert model.cache_hook["loglikelihood", str(before), str(wanted)] == (logprob, greedy)
    assert found[3][1]


def asked(*arguments: object) -> SimpleNamespace:
    """A request of the harness."""
    return SimpleNamespace(args=arguments)


@pytest.mark.parametrize("batch_size", [1, 9])
def test_every_continuation_has_tokens_of_its_own(toy_ir, batch_size):
    """The toy has one token for "th", which leaves none for "h" after "t"; hf asserts that there are some."""
    tokenizer = GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt")
    encode = tokenizer.encode
    assert len(encode("th")) == 1
    end = 299
    wanted = {
        ("t", "h"): (encode("t"), encode("h")),
        ("st", "h a"): (encode("s") + encode("t"), encode(" a")),  # "h" is lost, for hf too
        ("  ", "a"): ([end], encode("  a")),
        ("\n", ""): ([end], encode("\n")),
        ("", "a"): ([end], encode("a")),
        ("", "<|endoftext|>"): ([end], [end]),
        (" ", "<|endoftext|>"): ([end], [*encode(" "), end]),
        ("", "<|endoftext|>a"): ([end], encode("a")),
        ("a", "<|endoftext|>"): (encode("a"), [end]),
        ("a ", ""): (encode("a"), encode(" ")),
    }
    found = Testee(pretrained=str(toy_ir), batch_size=batch_size).loglikelihood([asked(*pair) for pair in wanted])
    for (before, after), (logprob, greedy) in zip(wanted.values(), found, strict=True):
        expected = oracle(before + after, len(after))
        assert (logprob, greedy) == (pytest.approx(expected[0], abs=1e-4), expected[1])


@pytest.mark.parametrize("pair", [("a", ""), ("", "")])
def test_a_continuation_without_a_token_is_refused_by_its_number(toy_ir, pair):
    with pytest.raises(Problem) as caught:
        Testee(pretrained=str(toy_ir), batch_size=9).loglikelihood([asked("a", "b"), asked(*pair)])
    assert str(caught.value) == f"request 2: {pair!r}: expected a continuation of at least one token, got none"


def test_a_text_without_context_begins_with_the_bos_token(tmp_path):
    TOY.write(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"bos_token_id": 7}')
    model = Testee(pretrained=str(TOY.ir(tmp_path)))
    assert (model.prefix_token_id, model.eot_token_id) == (7, 299)
    (found,) = model.loglikelihood([asked("", "<|endoftext|>")])
    assert found[0] == pytest.approx(oracle([7, 299], 1)[0], abs=1e-4)


def test_a_tokenizer_that_begins_texts_does_it_as_for_hf(tmp_path):
    """Unless the text begins like that already, or the harness says no."""
    ir = TOY.ir(tmp_path)
    TOY.write_tokenizer_that_begins_texts(tmp_path)
    model = Testee(pretrained=str(ir))
    assert model.tok_encode("a") == model.tok_encode("<|endoftext|>a") == [299, 64]
    assert model.tok_encode("a", add_special_tokens=False) == [64]


def test_a_context_that_is_too_long_loses_its_beginning(toy_ir):
    """16 positions take 16 tokens and predict those after the first: 17 tokens fit."""
    tokens = np.random.default_rng(0).integers(0, 300, 25).tolist()
    (found,) = Testee(pretrained=str(toy_ir))._loglikelihood_tokens([request_of(tokens[:22], tokens[22:])])
    assert found[0] == pytest.approx(oracle(tokens[-17:], 3)[0], abs=1e-3)


def test_a_continuation_that_is_too_long(toy_ir):
    model = Testee(pretrained=str(toy_ir))
    with pytest.raises(Problem, match=r"toy\.xml: request 2: a continuation has 17 tokens; at most 16 fit"):
        model._loglikelihood_tokens([request_of([1], [2]), request_of([1], [2] * 17)])


def test_the_end_of_a_text_is_a_token_as_it_is_for_hf(toy_ir):
    model = Testee(pretrained=str(toy_ir))
    assert model.eot_token_id == 299
    assert model.tok_encode("<|endoftext|>a") == [299, 64]  # "a" is the 65th of the bytes, from "!"
    assert model.tok_encode("") == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "--model_args: expected the path or the name of a model as pretrained=MODEL"),
        (
            {"pretrained": "x.xml", "dtype": "float16"},
            "--model_args: there is no 'dtype'; known: pretrained, openvino_device, batch_size, precision_hint, "
            "num_threads, max_gen_toks",
        ),
        (
            {"pretrained": "x.xml", "precision_hint": "f64"},
            "--model_args: precision_hint: expected one of auto, f32, bf16, f16, device, got 'f64'",
        ),
        (
            {"pretrained": "x.xml", "batch_size": "auto"},
            "--model_args: batch_size: expected a whole number from 1, got 'auto'",
        ),
        (
            {"pretrained": "x.xml", "num_threads": 0},
            "--model_args: num_threads: expected a whole number from 1, got '0'",
        ),
    ],
)
def test_arguments_that_cannot_be_used(arguments, line):
    with pytest.raises(Problem) as caught:
        Testee(**arguments)
    assert str(caught.value) == line


def test_a_tokenizer_of_another_model(tmp_path):
    ir = TOY.ir(tmp_path)
    Toy(vocab_size=290).write_vocabulary(tmp_path)
    with pytest.raises(Problem, match=f"{ir}: has 300 tokens, its tokenizer 290; put the model's own"):
        Testee(pretrained=str(ir))


def test_the_harness_s_device_is_not_ours(toy_ir):
    """It says cuda:0 where nobody said anything."""
    assert Testee(pretrained=str(toy_ir), device="cuda:0", max_batch_size=64).max_length == 16


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_the_harness_one_line_names_the_install(run):
    done = run("gpt2_evaluate", "lm-eval", "--model", "gpt2_openvino", "-h")
    message = b"lm_eval: is not installed; run: pip install 'omz-gpt2[lm-eval]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", message)


def test_later_releases_find_it_by_its_entry_point():
    (entry,) = importlib.metadata.entry_points(group="lm_eval.models", name="gpt2_openvino")
    assert entry.value == "gpt2_tools.evaluate.lm_eval_model:GPT2OpenVINO"
    if find_spec("lm_eval") is None:
        with pytest.raises(ModuleNotFoundError):
            entry.load()


def task(folder: Path, name: str, data: Path, kind: str, **more: object) -> None:
    """Write a task of the harness on a local file."""
    files = {"data_files": {"test": str(data)}}
    described = {"task": name, "dataset_path": "json", "dataset_kwargs": files, "test_split": "test"}
    (folder / f"{name}.yaml").write_text(json.dumps(described | {"output_type": kind} | more))  # JSON is YAML


def metric(name: str, **more: object) -> list[dict]:
    return [{"metric": name, **more}]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Return a folder with a task of each kind: last words, whole texts longer than the positions, continuations."""
    folder = tmp_path_factory.mktemp("tasks")
    text = HELDOUT.read_text(encoding="utf-8")
    parts = [" ".join(text[i : i + 400].split()[1:-1]) for i in range(0, 6400, 400)]
    for name, texts in (("parts", parts), ("long", [text[:200], text[:3000], text[3000:9000]])):
        lines = [json.dumps({"text": each}) + "\n" for each in texts]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    cloze = {"doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}", "doc_to_target": "{{' '+text.split(' ')[-1]}}"}
    acc = metric("acc", aggregation="mean", higher_is_better=True)
    task(folder, "our_words", folder / "parts.jsonl", "loglikelihood", metric_list=acc, **cloze)
    whole = {"doc_to_text": "", "doc_to_target": "{{text}}", "metric_list": metric("bits_per_byte")}
    task(folder, "our_texts", folder / "long.jsonl", "loglikelihood_rolling", **whole)
    generation = {"until": ["."], "max_gen_toks": 12, "do_sample": False}
    match = metric("exact_match", aggregation="mean", higher_is_better=True)
    write = {"doc_to_text": "{{text}}", "doc_to_target": "x", "generation_kwargs": generation, "metric_list": match}
    task(folder, "our_continuations", folder / "parts.jsonl", "generate_until", **write)
    drawn = write | {"generation_kwargs": generation | {"do_sample": True, "temperature": 1.0}, "repeats": 2}
    task(folder, "our_draws", folder / "long.jsonl", "generate_until", **drawn)
    return folder


ALIKE = ("our_words", "our_texts", "our_continuations")


def samples(tasks: Path, folder: Path, *arguments: object, names: tuple[str, ...] = ALIKE) -> dict[str, list]:
    """Run the harness by our command; return each task's answers."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tasks / "home")}
    command = ["lm-eval", *arguments, "--tasks", ",".join(names), "--include_path", tasks]
    kept = ["--log_samples", "--output_path", folder]
    done = run_process("gpt2_evaluate", *command, *kept, env={"PYTHONWARNINGS": "default", **offline})
    assert done.returncode == 0, done.stderr.decode()
    assert f"|{names[0]}" in done.stdout.decode()
    found = {}
    for name in names:
        (path,) = folder.glob(f"*/samples_{name}_*.jsonl")
        answers = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda each: each["doc_id"])
        found[name] = [each["resps"][0] for each in answers]
    return found


@pytest.mark.extras("lm_eval", "torch", "transformers", "accelerate", "peft")
def test_it_answers_as_hf_does_on_the_same_weights(mini, tasks, tmp_path):
    ours = ["--model", "gpt2_openvino", "--model_args", f"pretrained={mini}/FP32/gpt-2-mini.xml", "--batch_size", "4"]
    theirs = ["--model", "hf", "--model_args", f"pretrained={mini}/gpt2,dtype=float32", "--device", "cpu"]
    found = samples(tasks, tmp_path / "ours", *ours)
    expected = samples(tasks, tmp_path / "theirs", *theirs, "--batch_size", "4")
    assert len(found["our_words"]) == 16
    words, their_words = ([answer for (answer,) in each["our_words"]] for each in (found, expected))
    for (logprob, greedy), (their_logprob, their_greedy) in zip(words, their_words, strict=True):
        assert float(logprob) == pytest.approx(float(their_logprob), abs=1e-3)
        assert greedy == their_greedy
    texts = [float(logprob) for (logprob,) in found["our_texts"]]
    assert texts == pytest.approx([float(logprob) for (logprob,) in expected["our_texts"]], rel=1e-5)
    assert all(text for (text,) in found["our_continuations"])
    assert found["our_continuations"] == expected["our_continuations"]


@needs_harness
def test_a_seed_repeats_what_is_drawn(mini_ir, tasks, tmp_path):
    def draws(seed: int, batch_size: int) -> list[list[str]]:
        arguments = ["--model", "gpt2_openvino", "--model_args", f"pretrained={mini_ir}", "--seed", seed]
        folder = tmp_path / f"{seed} {batch_size}"
        return samples(tasks, folder, *arguments, "--batch_size", batch_size, names=("our_draws",))["our_draws"]

    found = draws(3, 1)
    assert len({text for repeats in found for text in repeats}) == 6
    assert draws(3, 4) == found != draws(4, 1)


@needs_harness
def test_a_missing_model_is_one_line(tasks, tmp_path):
    arguments = ["--model", "gpt2_openvino", "--model_args", f"pretrained={tmp_path}/x.xml", "--tasks", "our_words"]
    done = run_process(
        "gpt2_evaluate", "lm-eval", *arguments, "--include_path", tasks, env={"PYTHONWARNINGS": "default"}
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith(f"{tmp_path}/x.xml: there is no such model file; ")
    assert "Traceback" not in done.stderr.decode()


@needs_harness
def test_responses_of_another_model_are_not_taken_from_the_harness_cache(tmp_path):
    import lm_eval.models  # noqa: PLC0415, F401
    from lm_eval.api.instance import Instance  # noqa: PLC0415
    from lm_eval.api.model import CachingLM  # noqa: PLC0415

    (entry,) = importlib.metadata.entry_points(group="lm_eval.models", name="gpt2_openvino")
    first, second = (Toy(n_positions=16, seed=seed).ir(tmp_path / str(seed)) for seed in (1, 2))

    def score(ir: Path, cache: str = "cache.db", **arguments: object) -> float:
        model = CachingLM(entry.load()(pretrained=str(ir), **arguments), str(tmp_path / cache))
        ((logprob, _),) = model.loglikelihood([Instance("loglikelihood", {}, ("the", " sea"), 0)])
        return logprob

    expected = score(first)
    assert score(first, num_threads=1, batch_size=4) == expected
    for ir, arguments, part in [
        (second, {}, "weights"),
        (first, {"precision_hint": "bf16"}, "precision"),
        (first, {"max_gen_toks": 4}, "max_gen_toks"),
    ]:
        with pytest.raises(Problem, match=f"^--use_cache: its responses are of another run; different: {part}: give"):
            score(ir, **arguments)
    assert score(second, "other.db") != expected
    (first.parent / "generation_config.json").write_text('{"repetition_penalty": 1.5}')
    with pytest.raises(Problem, match=r"different: generation_config\.json: give another path"):
        score(first)


def test_responses_of_other_positions_are_not_taken_from_the_harness_cache(tmp_path):
    """Open Model Zoo's gpt-2 has the input [?,?]: its positions are in the config.json beside it."""
    toy = TOY.ir(tmp_path / "toy")
    model = ov.Core().read_model(toy)
    model.reshape([-1, -1])
    model.set_rt_info("", ["omz_gpt2", "n_positions"])
    ir = toy.with_name("open.xml")
    ov.save_model(model, ir)
    responses = {}
    for positions in (16, 16, 8):
        (ir.parent / "config.json").write_text(json.dumps({"n_positions": positions}))
        model = Testee(pretrained=str(ir))
        assert model.max_length == positions
        if positions == 16:
            model.set_cache_hook(SimpleNamespace(dbdict=responses))
    with pytest.raises(Problem, match=r"its responses are of another run; different: positions: give another path$"):
        model.set_cache_hook(SimpleNamespace(dbdict=responses))


@needs_harness
def test_responses_that_do_not_say_of_which_model_they_are_are_refused(tmp_path, toy_ir):
    from sqlitedict import SqliteDict  # noqa: PLC0415

    with SqliteDict(str(tmp_path / "old.db"), autocommit=True) as responses:
        responses["a request"] = (0.0, True)
        with pytest.raises(Problem, match=r"^--use_cache: nothing says which model its responses are of: "):
            Testee(pretrained=str(toy_ir)).set_cache_hook(SimpleNamespace(dbdict=responses))
        assert dict(responses) == {"a request": (0.0, True)}


@needs_harness
def test_drawing_has_the_keywords_of_the_harness(mini_ir):
    model = gpt2_openvino(mini_ir, batch_size=2)

    def write(**given):
        return model.generate_until([asked("The ship", {"until": ["\n"], "max_gen_toks": 8, **given})])[0]

    drawn = [write(do_sample=True, temperature=1.5, top_k=50, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(
        Problem, match="request 1: generation keyword 'penalty_alpha': is not supported; use bad_words_ids"
    ):
        write(penalty_alpha=0.6)
    with pytest.raises(Problem, match="request 1: num_beams: expected 1, got 4: beam search is not supported here"):
        write(num_beams=4)
    assert write(num_beams=1) == write()
    with pytest.raises(Problem, match="max_gen_toks: expected fewer than the model's 512 positions, got 512"):
        write(max_gen_toks=512)
    with pytest.raises(Problem, match="min_new_tokens: expected at most max_new_tokens, 8, got 9"):
        write(min_new_tokens=9)
    for temperature in ({}, {"temperature": 0.0}):  # hf raises ValueError
        with pytest.raises(Problem, match="do_sample: draws at a temperature above 0: give temperature too"):
            write(do_sample=True, **temperature)


@needs_harness
def test_what_is_drawn_depends_on_the_seed_the_request_and_the_repeat(mini_ir):
    """Not on batch_size; --seed sets numpy's generator before a run."""
    settings = {"until": [], "max_gen_toks": 8, "temperature": 2.0}

    def texts(batch_size: int, run_seed: int, **given: object) -> list[str]:
        requests = [asked(context, settings | given) for context in ("The ship", "The ship", "The", "")]
        np.random.seed(run_seed)
        model = gpt2_openvino(mini_ir, batch_size=batch_size)
        return model.generate_until([request for request in requests for _ in range(3)])

    of_run, of_task = texts(1, 1), texts(1, 1, seed=5)
    assert len({*of_run, *of_task}) == 24
    assert texts(5, 1) == of_run != texts(1, 2)
    assert texts(5, 2, seed=5) == of_task


@needs_harness
def test_a_token_is_one_of_50_unless_a_task_says_otherwise(mini_ir):
    settings = {"until": [], "max_gen_toks": 1, "do_sample": True, "temperature": 1e9, "seed": 1}
    model = gpt2_openvino(mini_ir)
    for given, fewest, most in (({}, 30, 50), ({"top_k": 2}, 2, 2), ({"top_k": 0}, 90, 100)):
        drawn = model.generate_until([asked("The ship", settings | given)] * 100)
        assert fewest <= len(set(drawn)) <= most


@needs_harness
def test_settings_of_the_model_s_own_act_unless_a_task_has_others(mini_ir, tmp_path):
    folder = shutil.copytree(mini_ir.parent, tmp_path / "own")
    own, ir = folder / "generation_config.json", folder / mini_ir.name

    def write(ir: Path, **given: object) -> list[str]:
        return gpt2_openvino(ir).generate_until([asked("The ship", {"until": [], "max_gen_toks": 8, **given})])

    own.write_text(json.dumps({"no_repeat_ngram_size": 1}))
    plain, without_repeats = write(mini_ir), write(mini_ir, no_repeat_ngram_size=1)
    assert write(ir) == without_repeats != plain == write(ir, no_repeat_ngram_size=0)
    own.write_text(json.dumps({"num_beams": 2}))
    with pytest.raises(Problem, match="num_beams: expected 1, got 2"):
        write(ir)
    assert write(ir, num_beams=1) == plain


@needs_harness
def test_ctrl_c_ends_the_texts_that_run(mini_ir):
    """The event that it sets ends a text at its next piece; the model can be used again."""
    model = gpt2_openvino(mini_ir)
    request = asked("The ship", {"until": [], "max_gen_toks": 8})
    with pytest.raises(KeyboardInterrupt), _set_by_errors(ends := Event()):
        raise KeyboardInterrupt
    cut, whole = (model._continuation(model._generator, 1, event, request, (0, 0)) for event in (ends, Event()))
    assert cut == "" != whole == model.generate_until([request])[0]


def gpt2_openvino(ir: Path, **arguments: object):
    """The model class, as the harness finds it."""
    (entry,) = importlib.metadata.entry_points(group="lm_eval.models", name="gpt2_openvino")
    return entry.load()(pretrained=str(ir), **arguments)


@pytest.fixture(scope="module")
def hf(mini):
    """The harness's own model class on the checkpoint of gpt-2-mini."""
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    return HFLM(pretrained=str(mini / "gpt2"), dtype="float32", device="cpu", batch_size=1)


needs_hf = pytest.mark.extras("lm_eval", "torch", "transformers", "accelerate", "peft")


@needs_hf
@pytest.mark.filterwarnings("ignore")
def test_continuations_are_encoded_as_for_hf(hf, mini):
    """Where hf's own encoding leaves a continuation no token, hf scores the tokens that it should have."""
    pairs = [
        ("The wh", "ale is"),
        ("The whale", " is"),
        ("The whale ", "is"),
        ("", "<|endoftext|>a"),
        ("The", "<|endoftext|>"),
    ]
    encode, end = hf.tok_encode, hf.prefix_token_id
    vanishing = {
        ("The wh", "ale"): (encode("The wh"), encode("ale")),
        (" \n", " is"): ([end], encode(" \n is")),
        ("", "<|endoftext|>"): ([end], [end]),
    }
    expected = hf.loglikelihood([asked(*pair) for pair in pairs], disable_tqdm=True)
    expected += hf._loglikelihood_tokens([(pair, *tokens) for pair, tokens in vanishing.items()], disable_tqdm=True)
    for batch_size in (1, 8):
        model = gpt2_openvino(mini / "FP32/gpt-2-mini.xml", batch_size=batch_size)
        found = model.loglikelihood([asked(*pair) for pair in [*pairs, *vanishing]], disable_tqdm=True)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-3)


@needs_hf
@pytest.mark.filterwarnings("ignore")
def test_greedy_texts_are_those_of_hf(hf, mini):
    """With whatever acts on them, and with a context that max_gen_toks leaves less than half of the positions."""
    whole = HELDOUT.read_text(encoding="utf-8")[1000:3000]
    settings = [
        {},
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [hf.tok_encode(" the"), hf.tok_encode(",")]},
        {"min_new_tokens": 20},
        {"top_k": 3, "top_p": 0.5},  # of draws
    ]
    short = "The ship was a ship and the ship"
    requests = [asked(short, {"until": [], "max_gen_toks": 24, **more}) for more in settings]
    requests.append(asked(whole, {"until": ["."], "max_gen_toks": 400}))
    requests.append(asked(whole, {"until": ["."], "max_gen_toks": 10}))
    expected = hf.generate_until(requests, disable_tqdm=True)
    model = gpt2_openvino(mini / "FP32/gpt-2-mini.xml", batch_size=8)
    assert model.generate_until(requests, disable_tqdm=True) == expected
    assert len(set(expected)) >= 6


def test_a_tokenizer_by_hand(toy_ir):
    """What the tests above take for the toy's tokens."""
    tokenizer = GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt")
    assert tokenizer.encode("!a") == [0, 64]

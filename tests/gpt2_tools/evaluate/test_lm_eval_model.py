"""lm_eval_model: numbers of the numpy oracle, and with the harness installed its own `hf` on the same weights."""

import importlib.metadata
import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.lm_eval_model import Model
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


def test_a_context_that_is_too_long_loses_its_beginning(toy_ir):
    """16 positions take 16 tokens and predict those after the first: 17 tokens fit."""
    tokens = np.random.default_rng(0).integers(0, 300, 25).tolist()
    (found,) = Testee(pretrained=str(toy_ir))._loglikelihood_tokens([request_of(tokens[:22], tokens[22:])])
    assert found[0] == pytest.approx(oracle(tokens[-17:], 3)[0], abs=1e-3)


def test_a_continuation_that_is_too_long(toy_ir):
    model = Testee(pretrained=str(toy_ir))
    with pytest.raises(Problem, match="a continuation has 17 tokens; at most 16 fit"):
        model._loglikelihood_tokens([request_of([1], [2] * 17)])


def test_the_end_of_a_text_is_a_token_as_it_is_for_hf(toy_ir):
    model = Testee(pretrained=str(toy_ir))
    assert model.eot_token_id == 299
    assert model.tok_encode("<|endoftext|>a") == [299, 64]  # "a" is the 65th of the bytes, from "!"
    assert model.tok_encode("") == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "--model_args: expected the path of an .xml as pretrained=PATH"),
        (
            {"pretrained": "x.xml", "dtype": "float16"},
            "--model_args: there is no 'dtype'; known: pretrained, openvino_device, batch_size, precision_hint, "
            "num_threads, max_gen_toks",
        ),
        (
            {"pretrained": "x.xml", "precision_hint": "f64"},
            "--model_args: precision_hint: expected one of f32, bf16, f16, device, got 'f64'",
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
    return folder


def samples(tasks: Path, folder: Path, *arguments: object) -> dict[str, list]:
    """Run the harness by our command; return each task's answers."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tasks / "home")}
    names = ("our_words", "our_texts", "our_continuations")
    command = ["lm-eval", *arguments, "--tasks", ",".join(names), "--include_path", tasks, "--batch_size", "4"]
    kept = ["--log_samples", "--output_path", folder]
    done = run_process("gpt2_evaluate", *command, *kept, env={"PYTHONWARNINGS": "default", **offline})
    assert done.returncode == 0, done.stderr.decode()
    assert "|our_words" in done.stdout.decode()
    found = {}
    for name in names:
        (path,) = folder.glob(f"*/samples_{name}_*.jsonl")
        answers = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda each: each["doc_id"])
        found[name] = [each["resps"][0][0] for each in answers]
    return found


@pytest.mark.extras("lm_eval", "torch", "transformers", "accelerate", "peft")
def test_it_answers_as_hf_does_on_the_same_weights(mini, tasks, tmp_path):
    ours = ["--model", "gpt2_openvino", "--model_args", f"pretrained={mini}/FP32/gpt-2-mini.xml"]
    theirs = ["--model", "hf", "--model_args", f"pretrained={mini}/gpt2,dtype=float32", "--device", "cpu"]
    found = samples(tasks, tmp_path / "ours", *ours)
    expected = samples(tasks, tmp_path / "theirs", *theirs)
    assert len(found["our_words"]) == 16
    for (logprob, greedy), (their_logprob, their_greedy) in zip(found["our_words"], expected["our_words"], strict=True):
        assert float(logprob) == pytest.approx(float(their_logprob), abs=1e-3)
        assert greedy == their_greedy
    texts = [float(logprob) for logprob in found["our_texts"]]
    assert texts == pytest.approx([float(logprob) for logprob in expected["our_texts"]], rel=1e-5)
    assert min(map(len, found["our_continuations"])) > 0
    assert found["our_continuations"] == expected["our_continuations"]


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
    from lm_eval.api.instance import Instance  # noqa: PLC0415

    (entry,) = importlib.metadata.entry_points(group="lm_eval.models", name="gpt2_openvino")
    model = entry.load()(pretrained=str(mini_ir), batch_size=2)

    def write(**given):
        asked = {"until": ["\n"], "max_gen_toks": 8, **given}
        return model.generate_until([Instance("generate_until", {}, ("The ship", asked), 0)])[0]

    drawn = [write(do_sample=True, temperature=1.5, top_k=50, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(Problem, match="generation keyword 'num_beams': is not supported; use min_p, "):
        write(num_beams=4)
    with pytest.raises(Problem, match="max_gen_toks: expected fewer than the model's 512 positions, got 512"):
        write(max_gen_toks=512)


def test_a_tokenizer_by_hand(toy_ir):
    """What the tests above take for the toy's tokens."""
    tokenizer = GPT2Tokenizer(toy_ir.parent / "vocab.json", toy_ir.parent / "merges.txt")
    assert tokenizer.encode("!a") == [0, 64]

"""trainer and run: what is trained is what a plain loop of PyTorch trains; a loss that is no number stops it."""

import json
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gpt2_tools.finetune import Problem, finetune, model, run
from gpt2_tools.finetune.trainer import worse_evaluations
from support.finetune import TINY, write_toy
from support.toy import load_weights

pytestmark = pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib")

SETTINGS = {name.removeprefix("--"): value for name, value in zip(TINY[::2], TINY[1::2], strict=True)}


@pytest.fixture
def no_dropout(folder) -> Path:
    """Return a folder with the toy and its text, without dropout."""
    path = folder / "toy/config.json"
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | dropouts))
    return folder


def tune(folder, **more):
    given = SETTINGS | {"model": str(folder / "toy"), "checkpoint_dir": folder / "runs", "steps": 6} | more
    return finetune(folder / "book.txt", **given)


def plain_loop(tokens, checkpoint, steps, rate, batch=2, size=16):
    """Return model and losses after the same steps: blocks in the same order, AdamW, a rate that falls to 0."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415

    blocks = blocks_of(tokens / "train.bin", size)
    model, losses = GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.float32).train(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(0))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        some = blocks[order[step * batch : (step + 1) * batch]]
        loss = model(input_ids=some, labels=some).loss
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model, losses


def blocks_of(path, size):
    import torch  # noqa: PLC0415

    tokens = np.fromfile(path, "<u2").astype(np.int64)
    return torch.from_numpy(tokens[: len(tokens) // size * size].reshape(-1, size))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_weights_are_those_of_a_plain_loop(no_dropout, accumulate, checkpointing):
    done = tune(no_dropout, accumulate_gradients=accumulate, gradient_checkpointing=checkpointing)
    rate, batch = SETTINGS["learning_rate"], 2 * accumulate
    expected, losses = plain_loop(done.run / "tokens", no_dropout / "toy", 6, rate, batch)
    assert [entry["loss"] for entry in logged(done) if "loss" in entry] == pytest.approx(losses, rel=1e-5)
    found = load_weights(done.model)
    for whole, parameter in expected.named_parameters():
        name, weight = whole.removeprefix("transformer."), parameter.detach().numpy()
        parts = [0, 2] if name.endswith("c_attn.bias") else slice(None)  # without the keys': their gradient is rounding
        size = (3, -1) if name.endswith("c_attn.bias") else weight.shape
        np.testing.assert_allclose(
            found[name].as_f32().reshape(size)[parts], weight.reshape(size)[parts], atol=2e-6, rtol=1e-5
        )


def test_the_validation_loss_is_the_mean_over_all_its_tokens(no_dropout):
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415

    done = tune(no_dropout, batch_size=4)
    blocks = blocks_of(done.run / "tokens/validation.bin", 16)
    assert len(blocks) % 4  # a last, smaller batch
    model = GPT2LMHeadModel.from_pretrained(done.model).eval()
    with torch.no_grad():
        logits = model(blocks).logits[:, :-1].double()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), blocks[:, 1:].flatten())
    assert done.validation_loss == pytest.approx(float(losses), rel=1e-5)
    assert done.perplexity == math.exp(done.validation_loss)


def test_an_infinite_rate_stops_before_the_weights_are_lost(no_dropout):
    with pytest.raises(Problem) as caught:
        tune(no_dropout, learning_rate=1e30, save_every=1, max_grad_norm=0, warmup=0)
    assert "the last good checkpoint; give a lower --learning_rate than 1e+30, more --warmup" in str(caught.value)
    assert str(caught.value).startswith("step ")


def test_a_weight_that_is_no_number_is_no_start(no_dropout):
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    path = no_dropout / "toy/model.safetensors"
    weights = load_file(path)
    weights["wte.weight"][:] = np.nan
    save_file(weights, path)
    with pytest.raises(
        Problem, match=r"step 1: the loss is nan; no checkpoint was saved yet; give a lower --learning_ra"
    ):
        tune(no_dropout)
    assert not list((no_dropout / "runs/run1").glob("checkpoint-*"))


def test_early_stopping_ends_with_the_best(folder):
    """A rate that destroys the model: the first evaluation is the best, and two worse ones are enough."""
    done = tune(folder, learning_rate=0.3, steps=40, eval_every=2, save_every=100, early_stopping=2)
    entries = [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]
    losses = {entry["step"]: entry["eval_loss"] for entry in entries if "eval_loss" in entry and entry["step"]}
    best = min(losses, key=losses.get)
    assert list(losses)[-3:] == [best, best + 2, best + 4]
    assert done.step == best + 4
    assert done.validation_loss == losses[best]
    kept = load_weights(done.run / f"checkpoint-{best}")
    for name, tensor in load_weights(done.model).items():
        np.testing.assert_array_equal(tensor.as_f32(), kept[name].as_f32())
    again = tune(folder, learning_rate=0.3, steps=40, eval_every=2, save_every=100, early_stopping=2)
    assert again == done  # nothing is trained again


def test_a_run_at_its_end_can_be_given_more_steps(folder):
    assert tune(folder, steps=4).step == 4
    assert tune(folder, steps=8).step == 8
    with pytest.raises(Problem, match=r"--steps: .*checkpoint-8 is at step 8; expected that or more in total, got 4"):
        tune(folder, steps=4)


@pytest.mark.parametrize(
    "more",
    [
        {"lora": 2},
        {"optimizer": "muon"},
        {"only_train_transformer_layers": True},
        {"lora": 2, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_a_resumed_run_of_any_kind_ends_with_the_same_weights(folder, more):
    whole = load_weights(tune(folder, steps=6, lr_scheduler="constant", **more).model)
    tune(folder, steps=3, run_name="b", lr_scheduler="constant", **more)
    resumed = load_weights(tune(folder, steps=6, run_name="b", lr_scheduler="constant", **more).model)
    for name, tensor in whole.items():
        np.testing.assert_array_equal(resumed[name].as_f32(), tensor.as_f32())


def test_a_new_model_is_trained_from_scratch(folder):
    done = tune(folder, model=None, from_scratch="2x2x16:280:32", steps=40, learning_rate=1e-2)
    entries = [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]
    assert entries[0]["eval_loss"] == pytest.approx(math.log(280), abs=0.1)
    assert done.validation_loss < 4.5
    resumed = tune(folder, model=None, from_scratch="2x2x16:280:32", steps=41, learning_rate=1e-2)
    assert resumed.step == 41


def test_worse_evaluations_are_counted_from_the_best():
    history = [{"step": step, "eval_loss": loss} for step, loss in enumerate((1.0, 3.0, 2.0, 2.5, 2.0))]
    assert [worse_evaluations(history[:count]) for count in range(6)] == [0, 0, 0, 0, 1, 2]


def test_gpt_2_mini_learns_as_in_a_plain_loop_and_its_ir_writes_what_transformers_writes(folder):
    """Every loss, and the fall of that on the validation data; then greedily, the FP32 IR on f32."""
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, GPT2LMHeadModel  # noqa: PLC0415

    from gpt2_text_prediction import Sampling, TextGenerator  # noqa: PLC0415

    done = tune(folder, model="gpt-2-mini", steps=8, block_size=32)
    mini = Path(str(files("omz_models") / "public/gpt-2-mini"))
    plain, losses = plain_loop(done.run / "tokens", mini, 8, SETTINGS["learning_rate"], size=32)
    assert [entry["loss"] for entry in logged(done) if "loss" in entry] == pytest.approx(losses, rel=1e-4)
    blocks = blocks_of(done.run / "tokens/validation.bin", 32)
    with torch.no_grad():
        after = float(plain.eval()(input_ids=blocks, labels=blocks).loss)
    before = next(entry["eval_loss"] for entry in logged(done) if "eval_loss" in entry)
    assert done.validation_loss == pytest.approx(after, rel=1e-4)
    assert math.exp(before) - done.perplexity > 0.9 * (math.exp(before) - math.exp(after)) > 1
    tokenizer, model = AutoTokenizer.from_pretrained(done.model), GPT2LMHeadModel.from_pretrained(done.model)
    ids = torch.tensor([tokenizer("the hen").input_ids])
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    with TextGenerator(done.run / "FP32/run1.xml", precision_hint="f32", num_threads=1) as generator:
        text = generator.generate(["the hen"], Sampling(temperature=0), max_new_tokens=12)[0].text
    assert "the hen" + text == tokenizer.decode(expected[0])


def test_five_lines_of_python(tmp_path, monkeypatch):
    """Those of docs/finetune.md."""
    monkeypatch.chdir(write_toy(tmp_path))
    page = Path(__file__).parents[3].joinpath("docs/finetune.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) <= 6
    exec(code.replace("gpt-2-mini", "toy").replace("steps=60", "steps=2, threads=1"), {})
    assert Path("checkpoint/run1/FP16/run1.xml").is_file()


def logged(done):
    return [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]


def rates(done):
    return [entry["learning_rate"] for entry in logged(done) if "loss" in entry]


def test_a_resumed_run_has_the_rate_and_the_decay_that_it_is_given(folder):
    """Of a schedule that had ended too; what has no weight decay by design keeps none."""
    import torch  # noqa: PLC0415

    assert rates(tune(folder, steps=2)) == pytest.approx([1e-3, 5e-4])
    done = tune(folder, steps=4, learning_rate=4e-3, weight_decay=0.5)
    assert rates(done)[2:] == pytest.approx([2e-3, 1e-3])
    saved = torch.load(done.run / "checkpoint-4/optimizer.pt", weights_only=True)
    assert [group["weight_decay"] for group in saved["param_groups"]] == [0.5, 0.0]


def test_lora_in_bf16_is_merged_into_the_checkpoints_own_weights(folder):
    """Those that were kept in bf16 are as they were where there is no adapter; the others differ by its product."""
    done = tune(folder, steps=3, lora=2, precision="bf16", sample_every=3)
    assert (done.run / "samples/samples-3.txt").stat().st_size > 9
    start, found = load_weights(folder / "toy"), load_weights(done.model)
    for name, tensor in start.items():
        difference = found[name].as_f32() - tensor.as_f32()
        assert bool(difference.any()) == name.endswith("c_attn.weight"), name
        if difference.any():
            assert np.linalg.matrix_rank(difference, tol=1e-6) <= 2
            assert np.abs(difference).max() < 1e-2


def test_frozen_weights_in_bf16_change_no_bit(folder, monkeypatch):
    """They are what autocast rounds them to."""
    settings = {"steps": 3, "lora": 2, "precision": "bf16"}
    saving, called = tune(folder, **settings), []
    monkeypatch.setattr(model, "_narrow", called.append)
    plain = tune(folder, run_name="plain", **settings)
    assert called
    assert [entry.get("loss") for entry in logged(saving)] == [entry.get("loss") for entry in logged(plain)]
    assert (saving.model / "model.safetensors").read_bytes() == (plain.model / "model.safetensors").read_bytes()
    assert (saving.model / "config.json").read_bytes() == (plain.model / "config.json").read_bytes()


def test_a_resumed_run_keeps_its_arithmetic(folder, monkeypatch):
    """--precision auto and the default of --threads are what they were, whatever this machine would choose."""
    import torch  # noqa: PLC0415

    def threads_and_precision():
        settings = json.loads((folder / "runs/run1/run.json").read_bytes())["settings"]
        return settings["threads"], settings["precision"]

    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(run, "cpu_has_bf16", lambda: False)
        tune(folder, steps=2, precision="auto", threads=1)
        assert threads_and_precision() == (1, "f32")
        torch.set_num_threads(2)
        monkeypatch.setattr(run, "cpu_has_bf16", lambda: True)
        tune(folder, steps=4, precision="auto", threads=None)
        assert threads_and_precision() == (1, "f32")
        facts = json.loads((folder / "runs/run1/run.json").read_bytes())
        facts["settings"]["precision"] = "bf16"
        (folder / "runs/run1/run.json").write_text(json.dumps(facts))
        monkeypatch.setattr(run, "cpu_has_bf16", lambda: False)
        with pytest.raises(Problem, match=r"--precision: .*run1 was begun in bf16, .*; give --precision bf16 to go on"):
            tune(folder, steps=6, precision="auto")
    finally:
        torch.set_num_threads(before)


def test_all_that_a_run_depends_on_is_compared_when_it_is_resumed(folder):
    """The form and the sizes of the changed files are as before."""
    more = {"steps": 2, "save_every": 1}
    done = tune(folder, **more)
    for name, change, line in (
        ("config.json", lambda text: text.replace(b"{", b"{ ", 1), r"--model: .*toy/config.json has the SHA-256"),
        ("tokenizer.json", lambda text: text.replace(b'"version"', b'"versioN"', 1), "--model: its tokenizer was cha"),
    ):
        path = folder / "toy" / name
        if not path.is_file():
            continue
        whole = path.read_bytes()
        path.write_bytes(change(whole))
        with pytest.raises(Problem, match=line):
            tune(folder, **more | {"steps": 3})
        path.write_bytes(whole)
    tokens = done.run / "tokens/train.bin"
    whole = tokens.read_bytes()
    tokens.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    tune(folder, **more | {"steps": 3})
    assert tokens.read_bytes() == whole


NEW = {"model": None, "from_scratch": "2x2x16:280:32"}


def test_nothing_is_deleted_or_replaced_by_a_command_that_cannot_be_run(folder):
    run = tune(folder, steps=4, save_every=2, keep=2, **NEW).run
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    book = (folder / "book.txt").read_bytes()
    for text, more, line in (
        (b"short", {"restore_from": "fresh"}, "expected at least a block of 16"),
        (b"bad \xff" + book, {"restore_from": "fresh"}, "expected UTF-8"),
        (book, {"restore_from": str(run / "checkpoint-2"), "steps": 1}, "--steps: .*checkpoint-2 is at step 2"),
    ):
        (folder / "book.txt").write_bytes(text)
        with pytest.raises(Problem, match=line):
            tune(folder, overwrite=True, **NEW | more)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (folder / "book.txt").write_bytes(book)
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "model.safetensors"):
        path = run / "checkpoint-2" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        offered = f"give --restore_from {run / 'checkpoint-4'} --overwrite"
        with pytest.raises(Problem, match=f"checkpoint-2/{name}: was changed or damaged .*; {offered}"):
            tune(folder, steps=3, overwrite=True, restore_from=str(run / "checkpoint-2"), **NEW)
        path.write_bytes(whole)
    assert (run / "checkpoint-4").is_dir()
    done = tune(folder, steps=3, overwrite=True, restore_from=str(run / "checkpoint-2"), **NEW)
    assert sorted(path.name for path in done.run.glob("checkpoint-*")) == ["checkpoint-3"]


def test_a_run_without_a_checkpoint_trains_a_tokenizer_of_its_own(folder):
    bad = NEW | {"learning_rate": 1e30, "max_grad_norm": 0}
    with pytest.raises(Problem, match="no checkpoint was saved yet"):
        tune(folder, **bad)
    before = (folder / "runs/run1/tokenizer/merges.txt").read_bytes()
    (folder / "book.txt").write_text("other words entirely " * 400)
    tune(folder, steps=1, **NEW)
    assert (folder / "runs/run1/tokenizer/merges.txt").read_bytes() != before


def test_early_stopping_may_begin_where_the_best_checkpoint_was_not_kept(folder, capsys):
    """A rate that destroys the model: the best evaluation is that before it, whose checkpoint is then deleted."""
    bad = {"learning_rate": 1.0, "lr_scheduler": "constant", "eval_every": 2, "save_every": 2}
    tune(folder, steps=4, **bad | {"learning_rate": 1e-2})
    tune(folder, steps=8, **bad)
    state = json.loads((folder / "runs/run1/checkpoint-8/trainer_state.json").read_bytes())
    assert state["best_global_step"] < 8
    capsys.readouterr()
    done = tune(folder, steps=10, early_stopping=1, **bad)
    told = "checkpoint-8: its best evaluation's checkpoint is not there; the best is sought from here on\n"
    assert capsys.readouterr().err.count(told) == 1
    losses = {entry["step"]: entry["eval_loss"] for entry in logged(done) if "eval_loss" in entry}
    assert done.validation_loss == min(losses[8], losses[10])

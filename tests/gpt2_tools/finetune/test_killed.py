"""A run that is killed at any moment, or interrupted, ends with the bytes of one that was not."""

import json
import os
import random
import shutil
import signal
import time

import pytest

from support import until
from support.finetune import TINY, write_toy

pytestmark = [
    pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib"),
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

STEPS, EVERY = 12, 4
# Five steps an epoch, dropout, samples, evaluations and patience: all that a resume must bring back.
ARGUMENTS = (
    *("--model", "toy", "--dataset", "book.txt", "--steps", STEPS, "--accumulate_gradients", 2, *TINY),
    *("--save_every", EVERY, "--eval_every", EVERY, "--sample_every", EVERY, "--early_stopping", 100, "--warmup", 2),
)


FILES = {"model.safetensors", "config.json", "generation_config.json", "optimizer.pt", "scheduler.pt"}
FILES |= {"trainer_state.json", "checksums.json"}


def result(folder):
    """Return all that a run leaves, but for times."""
    run = folder / "checkpoint/run1"
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    assert files.pop("loss.png").stat().st_size
    log = [json.loads(line) for line in files.pop("log.jsonl").read_text().splitlines()]
    for entry in log:
        entry.pop("seconds", None)
    state = json.loads(files.pop(f"checkpoint-{STEPS}/trainer_state.json").read_bytes())
    losses = [(entry["step"], entry["eval_loss"]) for entry in state["log_history"] if "eval_loss" in entry]
    kept = {name: path.read_bytes() for name, path in files.items() if name != "run.json"}
    return {"log": log, "losses": losses, "best": state["best_global_step"], **kept}


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """Return the seconds of a run that nothing stopped, and what it left."""
    folder = write_toy(tmp_path_factory.mktemp("undisturbed"))
    begin = time.monotonic()
    code, err = server.run(folder, *ARGUMENTS)
    assert code == 0, err
    return time.monotonic() - begin, result(folder)


def finish(server, folder, undisturbed):
    code, err = server.run(folder, *ARGUMENTS)
    assert code == 0, err
    assert result(folder) == undisturbed[1]
    return err


def test_the_run_has_what_the_others_are_compared_with(undisturbed):
    found = undisturbed[1]
    assert [entry["step"] for entry in found["log"] if "loss" in entry] == list(range(1, STEPS + 1))
    assert [step for step, _ in found["losses"]] == [0, 4, 8, 12]
    names = {"model/model.safetensors", "FP16/run1.xml", "FP32/run1.bin", "samples/samples-8.txt", "tokens/train.bin"}
    assert names <= set(found)


def test_ten_kills_at_random_moments_change_nothing(server, folder, undisturbed):
    rng, kills = random.Random(7), 0
    while kills < 10:
        run = server.start(folder, *ARGUMENTS)
        time.sleep(rng.uniform(0, undisturbed[0]))
        run.kill()
        if run.wait() == -signal.SIGKILL:
            kills += 1
        else:
            shutil.rmtree(folder / "checkpoint")
    finish(server, folder, undisturbed)


def test_a_kill_at_any_operation_of_a_save_changes_nothing(server, folder, undisturbed):
    """Of a save and of the deletion after it: each run dies one operation later than the one that it resumes."""
    operation, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        code, err = server.run(folder, *ARGUMENTS, die_at=operation)
        operation += 1
        for saved in (folder / "checkpoint/run1").glob("checkpoint-*"):
            assert {path.name for path in saved.iterdir()} == FILES
    assert code == 0, err
    assert operation > 15
    assert result(folder) == undisturbed[1]


def test_a_kill_in_the_middle_of_a_file_changes_nothing(server, folder, undisturbed):
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
        code, _ = server.run(folder, *ARGUMENTS, die_at=name)
        assert code == -signal.SIGKILL
        assert "checkpoint-4" not in {path.name for path in (folder / "checkpoint/run1").iterdir()}
    finish(server, folder, undisturbed)


def test_a_signal_names_the_command_that_resumes_a_fresh_run(server, folder):
    run = server.start(folder, *ARGUMENTS, "--restore_from", "fresh", "--overwrite")
    log = folder / "checkpoint/run1/log.jsonl"
    until(lambda: log.is_file() and '"step": 2' in log.read_text())
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    assert "; the same command with --restore_from latest resumes it" in run.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_saves_and_ends(server, folder, undisturbed, number):
    run = server.start(folder, *ARGUMENTS)
    log = folder / "checkpoint/run1/log.jsonl"
    until(lambda: log.is_file() and '"step": 2' in log.read_text())
    run.kill(number)
    assert run.wait() == 128 + number, run.err
    (saved,) = (folder / "checkpoint/run1").glob("checkpoint-*")
    step = int(saved.name.partition("-")[2])
    assert 2 <= step < STEPS
    assert f"stopped and saved at step {step}; the same command resumes it" in run.err
    assert f"resumed at step {step} of {STEPS}" in finish(server, folder, undisturbed)

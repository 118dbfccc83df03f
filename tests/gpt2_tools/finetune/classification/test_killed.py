"""A classifier's run that is killed at any moment, or interrupted, ends with the bytes of one that was not."""

import json
import os
import random
import shutil
import signal
import time

import pytest

from support import until
from support.finetune import TINY, write_labelled

pytestmark = [
    pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib"),
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

STEPS = 12
# Nine steps an epoch, of which the last is smaller, dropout, evaluations and patience.
ARGUMENTS = (
    *("--task", "classification", "--model", "toy", "--dataset", "texts.csv", "--steps", STEPS, *TINY),
    *("--accumulate_gradients", 3, "--save_every", 4, "--eval_every", 4, "--early_stopping", 100),
)


def result(folder):
    """Return all that a run leaves, but for times."""
    run = folder / "checkpoint/run1"
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    log = [json.loads(line) for line in files.pop("log.jsonl").read_text().splitlines()]
    for entry in log:
        entry.pop("seconds", None)
    kept = {name: path.read_bytes() for name, path in files.items() if name not in ("run.json", "loss.png")}
    return {"log": log, **kept}


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """Return the seconds of a run that nothing stopped, and what it left."""
    folder = write_labelled(tmp_path_factory.mktemp("undisturbed"))
    begin = time.monotonic()
    code, err = server.run(folder, *ARGUMENTS)
    assert code == 0, err
    found = result(folder)
    assert [entry["step"] for entry in found["log"] if "eval_loss" in entry] == [0, 4, 8, 12]
    assert {"model/model.safetensors", "confusion.png", "evaluation.json", f"checkpoint-{STEPS}/optimizer.pt"} <= set(
        found
    )
    return time.monotonic() - begin, found


def finish(server, folder, undisturbed):
    code, err = server.run(folder, *ARGUMENTS)
    assert code == 0, err
    found = result(folder)
    assert {name for name in found if found[name] != undisturbed[1].get(name)} == set()
    assert found.keys() == undisturbed[1].keys()
    return err


def test_kills_at_random_moments_change_nothing(server, labelled, undisturbed):
    rng, kills = random.Random(5), 0
    while kills < 8:
        run = server.start(labelled, *ARGUMENTS)
        time.sleep(rng.uniform(0, undisturbed[0]))
        run.kill()
        if run.wait() == -signal.SIGKILL:
            kills += 1
        else:
            shutil.rmtree(labelled / "checkpoint")
    finish(server, labelled, undisturbed)


def test_ctrl_c_saves_and_ends(server, labelled, undisturbed):
    run = server.start(labelled, *ARGUMENTS)
    log = labelled / "checkpoint/run1/log.jsonl"
    until(lambda: log.is_file() and '"step": 2' in log.read_text())
    run.kill(signal.SIGINT)
    assert run.wait() == 128 + signal.SIGINT, run.err
    assert "stopped and saved at step" in run.err
    assert not (labelled / "checkpoint/run1/evaluation.json").exists()
    assert "resumed at step" in finish(server, labelled, undisturbed)

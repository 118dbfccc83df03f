"""gpt2_finetune as a command: what it prints and returns, what it refuses in one line, and several processes."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.run import LIBRARIES, require_libraries
from support import HANGS_AFTER, until
from support.finetune import TINY, TOY, write_toy
from support.toy import Toy, load_weights

libraries = pytest.mark.extras(*LIBRARIES)
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")
RUN = ("--model", "toy", "--dataset", "book.txt", "--steps", 4, *TINY)


def test_missing_libraries_are_named_with_the_command_that_installs_them():
    with pytest.raises(Problem) as caught:
        require_libraries(lambda name: name not in ("torch", "peft"))
    line = "gpt2_finetune: torch, peft missing: pip install 'omz-gpt2[finetune]' --extra-index-url "
    assert str(caught.value) == line + "https://download.pytorch.org/whl/cpu"


@pytest.mark.skipif(find_spec("torch") is not None, reason="needs an environment without PyTorch: make test has it")
def test_without_pytorch_it_ends_in_one_line(run, tmp_path):
    done = run("gpt2_finetune", "--model", "gpt-2-mini", "--dataset", "book.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert "pip install 'omz-gpt2[finetune]'" in done.stderr.decode()


@libraries
def test_a_run_says_what_it_does_and_ends_with_the_demos_command(server, folder, run):
    sampled = ("--sample_every", 4, "--sample_prompt", "the hen")
    started = server.start(folder, *RUN, *sampled)
    assert started.wait() == 0, started.err
    assert started.out == "gpt2_text_prediction_demo -m checkpoint/run1/FP16/run1.xml -i 'the hen'\n"
    lines = started.err.splitlines()
    assert re.fullmatch(
        r"book.txt: \d+ tokens in \d+ blocks of 16; validation on \d+ of the last 5% of the text; 4 steps of 2, in f32",
        lines[0],
    )
    assert lines[1].startswith("[0] validation loss=")
    assert lines[2].startswith("[4 | ")
    assert lines[3] == "======== SAMPLE 4 ========"
    assert lines[4].startswith("the hen")
    assert lines[-2].startswith("checkpoint/run1: step 4, validation perplexity ")
    command, *arguments = started.out.replace("'the hen'", "hen").split()
    done = run(command, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    facts = json.loads((folder / "checkpoint/run1/run.json").read_bytes())
    assert facts["settings"]["learning_rate"] == 1e-3
    assert facts["data"][0]["bytes"] == (folder / "book.txt").stat().st_size
    assert {"torch", "transformers", "peft"} <= set(facts["versions"])
    assert not list((folder / "checkpoint").rglob("training_args.bin"))


def write_nothing(folder):
    (folder / "e.txt").touch()


def write_file(folder):
    (folder / "checkpoint").write_text("")


def write_another_book(folder):
    (folder / "book.txt").write_text("other " * 999)


def write_csv(folder):
    (folder / "t.csv").write_text("body\nx\n")


def write_bytes(folder):
    (folder / "bad.txt").write_bytes(b"a\n\xff")


def write_small(folder):
    (folder / "small.txt").write_text("ab")


def write_large_model(folder):
    Toy(n_embd=24, n_positions=32).write(folder / "large")


def write_wrong_adapter(folder):
    from safetensors.numpy import save_file  # noqa: PLC0415

    TOY.write(folder / "adapted")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True}
    (folder / "adapted/adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_{}.weight"
    wrong = {name.format("A"): np.zeros((2, 99), np.float32), name.format("B"): np.zeros((48, 2), np.float32)}
    save_file(wrong, folder / "adapted/adapter_model.safetensors")


def write_tokens(folder):
    np.savez(folder / "t.npz", np.arange(99))


def write_header(folder):
    (folder / "h.csv").write_text("body\n")


def write_table(folder):
    (folder / "v.jsonl").write_text('{"text": "b"}\n')


def write_broken_config(folder):
    TOY.write(folder / "broken")
    (folder / "broken/config.json").write_text("{")


def write_wrong_dropout(folder):
    config = json.loads((TOY.write(folder / "broken") / "config.json").read_bytes())
    (folder / "broken/config.json").write_text(json.dumps(config | {"resid_pdrop": "a"}))


def add_token(folder, token="hen"):
    TOY.write(folder / "added")
    (folder / "added/added_tokens.json").write_text(json.dumps({token: 300}))


def add_other_token(folder):
    add_token(folder, "owl")


REFUSED = [
    (None, "--dataset none.txt", "none.txt: No such file or directory"),
    (write_nothing, "--dataset e.txt", "e.txt: is empty; expected a text to train on"),
    (write_bytes, "--dataset bad.txt", "bad.txt: expected UTF-8, got 0xff as byte 1 of line 2 (byte 3 of the file)"),
    (write_csv, "--dataset t.csv --text_column text", "t.csv: expected a column 'text', got body"),
    (write_small, "--dataset small.txt", "small.txt: has 3 tokens; expected at least a block of 16; give a smaller"),
    (write_small, "--validation_file small.txt", "small.txt: has 3 tokens to validate on; expected at least a block"),
    (None, "--block_size 33", "--block_size: expected at most 32, the model's positions, got 33"),
    (write_tokens, "--dataset t.npz", "t.npz: has tokens of another vocabulary; --from_scratch expects a text"),
    (write_tokens, "--validation_file t.npz", "t.npz: has tokens of another vocabulary; --from_scratch expects a text"),
    (None, "--text_column a", "--text_column: belongs to a data set that ends in .csv or .jsonl, got book.txt"),
    (write_header, "--dataset h.csv", "h.csv: has no documents; expected a text in it"),
    (write_table, "--validation_file v.jsonl --text_column a", "v.jsonl: line 1: expected an object with a string und"),
    (write_broken_config, "--model broken", "broken/config.json: is not JSON"),
    (write_wrong_dropout, "--model broken", 'broken/config.json: "resid_pdrop": expected a number from 0 to 1, got'),
    (
        add_other_token,
        "--model added --sample_every 1 --sample_prompt owl",
        "--sample_prompt: has the token id 300, by the",
    ),
    (add_token, "--model added", "book.txt: has the token id 300, by the tokenizer; the model has 300 tokens; resize"),
    (None, "--model nothing", "--model: expected a model of the zoo or the folder of a checkpoint, got nothing"),
    (write_wrong_adapter, "--model adapted", "adapted/adapter_model.safetensors: "),
    (None, "--restore_from checkpoint/run2/checkpoint-4", "--restore_from: expected latest, fresh or a checkpoint of"),
    (write_file, "", "checkpoint/run1: "),
]


@libraries
@pytest.mark.parametrize(("prepare", "more", "line"), REFUSED, ids=[more or "a file" for _, more, _ in REFUSED])
def test_what_a_user_can_mend_is_one_line(server, folder, prepare, more, line):
    if prepare is not None:
        prepare(folder)
    run = ("--from_scratch", "2x2x16:280:32", *RUN[2:]) if "npz" in more else RUN
    code, err = server.run(folder, *run, *more.split())
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith(line), err
    assert not list(folder.glob("checkpoint/*/checkpoint-*"))


CHANGES = [
    (None, "--block_size 8", "--block_size: checkpoint/run1 was begun with 16, got 8"),
    (None, "--batch_size 1", "--batch_size: checkpoint/run1 was begun with 2, got 1"),
    (write_large_model, "--model large", "--model: checkpoint/run1 was begun with n_layer 2, n_head 2, n_embd 16"),
    (write_another_book, "", "--dataset: checkpoint/run1 was begun with"),
    (None, "--restore_from fresh", "checkpoint/run1/checkpoint-4: would be lost; give another --run_name, --overwrite"),
    (None, "--steps 3", "--steps: checkpoint/run1/checkpoint-4 is at step 4; expected that or more in total, got 3"),
    (
        None,
        "--epochs 0.01",
        "--epochs: checkpoint/run1/checkpoint-4 is at step 4; expected that or more in total, got 1",
    ),
]


@libraries
def test_a_resumed_run_with_other_settings_is_refused_by_name(server, folder):
    assert server.run(folder, *RUN)[0] == 0
    before = {path: path.read_bytes() for path in folder.glob("checkpoint/run1/**/*") if path.is_file()}
    for prepare, more, line in CHANGES:
        book = (folder / "book.txt").read_bytes()
        if prepare is not None:
            prepare(folder)
        settings = (*RUN[:4], *TINY) if "--epochs" in more else RUN
        code, err = server.run(folder, *settings, *more.split())
        assert (code, err.count("\n")) == (1, 1), err
        assert err.startswith(line), err
        (folder / "book.txt").write_bytes(book)
    after = {path: path.read_bytes() for path in folder.glob("checkpoint/run1/**/*") if path.is_file()}
    assert before == after


@libraries
@posix_only
def test_a_run_folder_in_use_is_refused(server, folder):
    first = server.start(folder, *RUN[:5], 10**6, *RUN[6:])
    until((folder / "checkpoint/run1/log.jsonl").is_file)
    other = write_toy(folder / "other")
    code, err = server.run(other, *RUN, "--checkpoint_dir", folder / "checkpoint")
    first.kill(signal.SIGKILL)
    first.wait()
    assert (code, err.count("\n")) == (1, 1), err
    assert "another gpt2_finetune is at work here" in err


@libraries
@posix_only
def test_a_full_disk_at_a_save_leaves_the_last_checkpoint(server, folder):
    """Files may have as many bytes as the weights, not as many as the optimizer's state."""
    run = ("--model", "toy", "--dataset", "book.txt", *TINY, "--save_every", 2, "--lr_scheduler", "constant")
    assert server.run(folder, *run, "--steps", 2)[0] == 0
    room = (folder / "checkpoint/run1/checkpoint-2/model.safetensors").stat().st_size + 1000
    code, err = server.run(folder, *run, "--steps", 4, file_limit=room)
    assert code == 1, err
    last = err.splitlines()[-1]
    assert last.startswith("checkpoint/run1/"), err
    assert "cannot be written" in last
    assert [path.name for path in (folder / "checkpoint/run1").glob("*checkpoint-*")] == ["checkpoint-2"]
    assert server.run(folder, *run, "--steps", 4)[0] == 0


@libraries
def test_a_checkpoint_that_was_damaged_is_refused(server, folder):
    assert server.run(folder, *RUN)[0] == 0
    more = (*RUN[:5], 6, *RUN[6:])
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"):
        path = folder / "checkpoint/run1/checkpoint-4" / name
        whole = path.read_bytes()
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        for damaged in (whole[: len(whole) // 2], flipped, None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            code, err = server.run(folder, *more)
            assert (code, "Traceback" in err) == (1, False), err
            assert err.splitlines()[-1].startswith("checkpoint/run1/checkpoint-4"), err
            path.write_bytes(whole)
    assert server.run(folder, *more)[0] == 0


@libraries
def test_a_dry_run_measures_and_leaves_nothing(server, folder):
    before = sorted(folder.iterdir())
    started = server.start(folder, *RUN[:4], "--epochs", 2, *TINY, "--dry_run")
    assert started.wait() == 0, started.err
    lines = started.out.splitlines()
    assert lines[0].startswith("documents: 1; tokens: ")
    tokens = int(lines[0].split()[3])
    assert lines[1] == f"blocks of 16: {tokens // 16}; steps: {2 * -(-(tokens // 16) // 2)} of 2 blocks"
    assert lines[2].startswith("one step: ")
    assert ", measured, in f32; all: " in lines[2]
    assert [line.split(":")[0] for line in lines[3:]] == ["memory at its peak", "disk"]
    assert {path.name for path in folder.iterdir()} - {path.name for path in before} == {"stdout", "stderr"}


@libraries
@posix_only
def test_a_terminal_gets_a_bar_with_the_time_left(folder):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [Path(sysconfig.get_path("scripts")) / "gpt2_finetune", *RUN[:5], 100, *RUN[6:]]
    with subprocess.Popen(list(map(str, command)), cwd=folder, stderr=terminal, stdout=subprocess.PIPE) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
        except OSError:  # the terminal is closed
            pass
        process.communicate(timeout=HANGS_AFTER)
    os.close(controller)
    assert process.returncode == 0, shown.decode()
    assert b"/100 [" in shown
    assert b"step/s, loss=" in shown or b"s/step, loss=" in shown
    assert b"[10 | " not in shown


SGD = """
import sys
from gpt2_tools.finetune import finetune, optimizers
import torch
optimizers.OPTIMIZERS["adamw"] = lambda model, settings: torch.optim.SGD(model.parameters(), lr=0.05)
finetune("book.txt", model="toy", steps=10, block_size=16, batch_size=int(sys.argv[1]), threads=1, precision="f32",
         lr_scheduler="constant", run_name=sys.argv[2])
"""


@libraries
@posix_only
def test_two_processes_train_as_one_with_the_doubled_batch(folder):
    config = json.loads((folder / "toy/config.json").read_bytes())
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    (folder / "toy/config.json").write_text(json.dumps(config | dropouts))
    (folder / "sgd.py").write_text(SGD)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in ([*torchrun, "sgd.py", "2", "two"], [sys.executable, "sgd.py", "4", "one"]):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=HANGS_AFTER, check=False, env=environment, text=True
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_weights(folder / "checkpoint" / name / "model") for name in ("one", "two"))
    start = load_weights(folder / "toy")
    for name, tensor in one.items():
        np.testing.assert_allclose(two[name].as_f32(), tensor.as_f32(), atol=1e-5, rtol=0)
    assert max(np.abs(one[name].as_f32() - start[name].as_f32()).max() for name in one) > 1e-2
    logged = [(folder / f"checkpoint/{name}/log.jsonl").read_text().splitlines() for name in ("one", "two")]
    losses = [[json.loads(line) for line in lines if '"loss"' in line] for lines in logged]
    assert [entry["loss"] for entry in losses[1]] == pytest.approx([entry["loss"] for entry in losses[0]], abs=1e-4)
    assert len(losses[0]) == 10

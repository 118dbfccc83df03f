"""settings: a value out of range, and flags that exclude each other, are refused by name; defaults."""

from pathlib import Path

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.settings import RANGES, Settings

BOOK = {"dataset": Path("book.txt"), "model": "gpt-2-mini"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"steps": 0}, "--steps: expected a whole number from 1, got 0"),
        ({"steps": 1.5}, "--steps: expected a whole number from 1, got 1.5"),
        ({"learning_rate": float("nan")}, "--learning_rate: expected a number above 0, got nan"),
        ({"learning_rate": "1e-3"}, "--learning_rate: expected a number above 0, got '1e-3'"),
        ({"validation_split": 0.6}, "--validation_split: expected a share from 0 to 0.5, got 0.6"),
        ({"block_size": 1}, "--block_size: expected a whole number from 2, got 1"),
        ({"optimizer": "sgd"}, "--optimizer: expected one of adamw, muon, got 'sgd'"),
        ({"model": None}, "--model, --from_scratch: expected one of them"),
        ({"from_scratch": "gpt-2"}, "--model, --from_scratch: expected one of them"),
        ({"steps": 1, "epochs": 1.0}, "--steps and --epochs exclude each other"),
        (
            {"validation_file": Path("v"), "validation_split": 0.1},
            "--validation_file and --validation_split exclude each",
        ),
        ({"lora": 8, "only_train_transformer_layers": True}, "--lora and --only_train_transformer_layers exclude each"),
        ({"lora": 8, "optimizer": "muon"}, "--lora and --optimizer exclude each other"),
        ({"vocab_size": 300}, "--vocab_size: belongs to --from_scratch, which was not given"),
        ({"early_stopping": 1, "eval_every": 0}, "--early_stopping: needs evaluations, and --eval_every is 0"),
        ({"validation_file": "v", "eval_every": 0}, "--validation_file: needs evaluations, and --eval_every is 0"),
        ({"sample_prompt": "A"}, "--sample_prompt: belongs to --sample_every, which is 0"),
        ({"run_name": "a/b"}, "--run_name: expected the name of a folder, got 'a/b'"),
        ({"run_name": ".."}, "--run_name: expected the name of a folder, got '..'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, line):
    with pytest.raises(Problem) as caught:
        Settings(**(BOOK | given))
    assert str(caught.value).startswith(line)


def test_every_number_has_a_range():
    numbers = {name for name, value in vars(Settings(**BOOK)).items() if type(value) in (int, float)}
    assert numbers <= set(RANGES)


@pytest.mark.parametrize(
    ("given", "rate", "decay"),
    [
        ({}, 5e-5, 0.0),
        ({"lora": 8}, 1e-4, 0.0),
        ({"model": None, "from_scratch": "gpt-2"}, 1e-3, 0.1),
        ({"optimizer": "muon"}, 2e-3, 0.0),
        ({"learning_rate": 1.0, "weight_decay": 0.5}, 1.0, 0.5),
    ],
)
def test_defaults_depend_on_what_is_trained(given, rate, decay):
    settings = Settings(**(BOOK | given))
    assert (settings.peak_learning_rate, settings.decay) == (rate, decay)


@pytest.mark.parametrize(
    ("given", "blocks", "processes", "steps"),
    [
        ({"steps": 7}, 1, 1, 7),
        ({}, 10, 1, 30),
        ({"epochs": 0.5, "batch_size": 3}, 10, 1, 2),  # four batches
        ({"epochs": 1.0, "batch_size": 2, "accumulate_gradients": 2}, 10, 1, 3),  # of five batches
        ({"epochs": 1.0, "batch_size": 2}, 10, 2, 3),
    ],
)
def test_epochs_are_as_many_steps(given, blocks, processes, steps):
    assert Settings(**(BOOK | given)).steps_for(blocks, processes) == steps


def test_a_warm_up_is_a_number_of_steps_or_a_share():
    assert Settings(**BOOK, warmup=20).warmup_steps(100) == 20
    assert Settings(**BOOK, warmup=0.1).warmup_steps(100) == 10


def test_paths_may_be_strings_in_python():
    assert Settings(**(BOOK | {"checkpoint_dir": "runs"})).run_dir == Path("runs/run1")


def test_a_model_may_be_a_path_in_python():
    assert Settings(**(BOOK | {"model": Path("toy")})).model == "toy"
    assert Settings(Path("book.txt"), from_scratch=Path("config.json")).from_scratch == "config.json"

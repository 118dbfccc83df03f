"""arguments: every setting has a flag, and the names of run_clm.py and gpt-2-simple mean the same."""

from dataclasses import fields
from pathlib import Path

import pytest

from gpt2_tools.finetune.arguments import OTHER_NAMES, build_argparser, parse
from gpt2_tools.finetune.settings import Settings
from support import ROOT


def test_every_setting_has_a_flag():
    flags = {action.dest for action in build_argparser()._actions}
    assert flags - {"help", "version", "dry_run"} == {field.name for field in fields(Settings)}


def test_without_flags_the_settings_are_the_defaults():
    settings, is_dry = parse(["--model", "gpt-2-mini", "--dataset", "book.txt"])
    assert settings == Settings(Path("book.txt"), "gpt-2-mini")
    assert not is_dry


def test_the_line_of_a_user_of_gpt_2_simple_works():
    line = "--run_name r --checkpoint_dir c --model_name 124M --dataset f.txt --steps 10 --restore_from fresh "
    line += "--sample_every 5 --save_every 5 --overwrite --batch_size 2 --only_train_transformer_layers"
    settings, _ = parse(line.split())
    assert (settings.model, settings.steps, settings.restore_from) == ("124M", 10, "fresh")
    assert settings.run_dir == Path("c/r")
    assert settings.overwrite
    assert settings.only_train_transformer_layers


def test_the_line_of_a_user_of_run_clm_works():
    line = "--model_name_or_path gpt2 --train_file t.txt --validation_file v.txt --block_size 128 "
    line += "--per_device_train_batch_size 2 --gradient_accumulation_steps 4 --learning_rate 1e-4 --num_train_epochs 2 "
    line += (
        "--lr_scheduler_type cosine --warmup_steps 10 --weight_decay 0.1 --seed 3 --save_steps 7 --save_total_limit 2"
    )
    settings, _ = parse(line.split())
    expected = {"model": "gpt2", "dataset": Path("t.txt"), "epochs": 2.0, "batch_size": 2, "accumulate_gradients": 4}
    expected |= {"lr_scheduler": "cosine", "warmup": 10.0, "save_every": 7, "keep": 2, "block_size": 128, "seed": 3}
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize("line", ["--batch_size 0", "--seed -1", "--epochs x", "--optimizer sgd", "--no_such"])
def test_a_value_that_is_none_is_refused(capsys, line):
    with pytest.raises(SystemExit) as caught:
        parse(["--model", "m", "--dataset", "d", *line.split()])
    assert caught.value.code == 2
    assert line.split()[0] in capsys.readouterr().err


def test_the_page_has_every_flag_and_every_other_name():
    page = (ROOT / "docs/finetune.md").read_text(encoding="utf-8")
    for action in build_argparser()._actions[1:]:
        for flag in action.option_strings:
            assert f"`{flag}`" in page or flag in ("--dry-run", "--version"), flag
    assert all(f"`--{name}`" in page for name in OTHER_NAMES)

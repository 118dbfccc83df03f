"""An option is honoured or refused, in every command: none is taken and dropped."""

import argparse
import ast
from pathlib import Path

import pytest

import gpt2_text_prediction
import gpt2_tools
import omz_model_tools
from gpt2_text_prediction.cli import arguments
from gpt2_text_prediction.settings import SETTINGS
from gpt2_tools.benchmark.arguments import build_argparser as benchmark_parser
from gpt2_tools.benchmark.modes import MODES
from gpt2_tools.evaluate.accuracy_check_cli import build_argparser as accuracy_check_parser
from gpt2_tools.evaluate.cli import build_argparser as evaluate_parser
from gpt2_tools.export.cli import build_argparser as export_parser
from gpt2_tools.finetune.arguments import build_argparser as finetune_parser
from gpt2_tools.finetune.settings import DEFAULTS
from omz_model_tools.cli import converter, downloader, info_dumper, model_checker, quantizer

REFUSED = [
    ("omz_converter --checkpoint c -o o -d d", "--download_dir cannot be used with --checkpoint"),
    ("omz_converter --hub a/b -o o -d d", "--download_dir cannot be used with --hub"),
    ("omz_converter --peft_adapter a -o o -d d", "--download_dir cannot be used with --peft_adapter"),
    ("omz_converter --all --verify --dry_run", "--verify cannot be used with --dry_run, which reads no file"),
    ("omz_quantizer --model m.xml --model_dir d", "--model_dir cannot be used with --model"),
    ("omz_quantizer --all --precisions FP16-INT8 --ratio 0.5", "--ratio cannot be used without an INT4 among"),
    (
        "omz_quantizer --all --precisions FP16-INT8 --group_size 128",
        "--group_size cannot be used without an INT4",
    ),
    ("omz_quantizer --all --precisions FP32-INT8 --all_layers", "--all_layers cannot be used without an INT4 among"),
    ("omz_quantizer --model m.xml --precisions FP16-INT8 --awq", "--awq cannot be used without an INT4 among"),
    ("omz_quantizer --all --dataset_dir d", "--dataset_dir: weights are compressed without a data set; leave it out"),
    ("omz_quantizer --all --pot p", "--pot: the Post-Training Optimization Tool is no part of OpenVINO any more"),
    ("omz_quantizer --all --target_device GPU", "--target_device: compressed weights run on every device"),
    ("omz_quantizer --all -p python3", "-p: nothing is run in another Python; leave it out"),
    ("omz_info_dumper --all --input_shape [1,4]", "--input_shape cannot be used without --with_stats"),
    ("omz_info_dumper --all --model_dir d", "--model_dir cannot be used without --with_stats"),
    ("omz_downloader --print_all -o o -j 2", "--output_dir cannot be used with --print_all"),
    ("omz_converter --print_all --precisions FP32", "--precisions cannot be used with --print_all"),
    ("omz_info_dumper --print_all --with_stats", "--with_stats cannot be used with --print_all"),
    ("omz_quantizer --print_all --dry_run", "--dry_run cannot be used with --print_all"),
    ("omz_data_downloader --print_all --verify", "--verify cannot be used with --print_all"),
    ("omz_downloader --all --offline --mirror http://m", '"--offline" and "--mirror" exclude each other'),
    ("omz_data_downloader --all --offline --mirror http://m", '"--offline" and "--mirror" exclude each other'),
    ("gpt2_evaluate perplexity -m m --text t --data_dir d", "--data_dir: belongs to --dataset; the text is of --text"),
    ("gpt2_evaluate perplexity -m m --text t --checkpoint c", "--checkpoint: belongs to --with-transformers, which"),
    ("gpt2_evaluate lambada -m m --data f --data_dir d", "--data, --data_dir: expected one of them"),
]


@pytest.mark.parametrize(("command", "line"), REFUSED, ids=[command for command, _ in REFUSED])
def test_an_option_of_another_mode_is_refused_in_one_line(run, tmp_path, command, line):
    name, *given = command.split()
    done = run(name, *given, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert line in done.stderr.decode().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def commands_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    subparsers = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(command for action in subparsers for command in action.choices.values())]


PARSERS = {
    gpt2_text_prediction: [arguments.build_argparser()],
    gpt2_tools: [
        *(parser() for parser in (benchmark_parser, export_parser, accuracy_check_parser, finetune_parser)),
        *commands_of(evaluate_parser()),
    ],
    omz_model_tools: [
        *(command._parser() for command in (converter, downloader, info_dumper, model_checker, quantizer)),
    ],
}
OF_OMZ_REFUSED = {"dataset_dir", "pot", "target_device"}
ACT_BY_THEMSELVES = {"help", "version"} | OF_OMZ_REFUSED
READ_BY_NAME = {*SETTINGS, *MODES, *DEFAULTS, "dynamic_shape"}
"""What is read by the names in a table or of a dataclass, and the demo's flag that asks for what is the default."""


def arguments_read(package: Path) -> set[str]:
    """Return the names that a package's source reads from `args`."""
    nodes = (node for path in package.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args"
    }


@pytest.mark.parametrize("package", PARSERS, ids=lambda package: package.__name__)
def test_the_program_reads_every_option_that_its_parser_takes(package):
    read = arguments_read(Path(package.__file__).parent)
    taken = {action.dest for parser in PARSERS[package] for action in parser._actions}
    assert taken - read - ACT_BY_THEMSELVES - READ_BY_NAME == set()

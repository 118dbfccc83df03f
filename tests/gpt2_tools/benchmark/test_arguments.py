"""arguments: lists of lengths, options that exclude each other, and that each mode uses its options and no others."""

import ast
import inspect

import pytest

from gpt2_tools.benchmark import modes as benchmark
from gpt2_tools.benchmark.arguments import FLAGS, build_argparser, mode_of, parse


def test_a_single_length_leaves_the_form_as_it_was():
    args = parse(["-m", "x.xml"])
    assert (args.prompt_tokens, args.max_new_tokens, args.output) == ([128], [128], None)


def test_several_lengths_make_a_table():
    args = parse(["-m", "x.xml", "-p", "8,16,8", "-M", "4"])
    assert (args.prompt_tokens, args.max_new_tokens, args.output) == ([8, 16], [4], "md")
    assert parse(["-m", "x.xml", "-M", "4,5", "-o", "csv"]).output == "csv"


def test_the_picture_of_growth_is_a_part_of_its_mode_and_it_runs_once():
    args = parse(["-m", "x.xml", "--growth", "--plot", "a.png"])
    assert (mode_of(args), args.growth, args.num_iter) == ("growth", 1, 1)
    assert parse(["-m", "x.xml", "--growth", "20", "-n", "5"]).num_iter == 5
    assert (mode_of(parse(["-m", "x.xml", "--plot", "a.png"])), parse(["-m", "x.xml"]).num_iter) == ("plot", 5)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-m", "x", "-o", "md", "--plot", "a.png"], "not allowed together: -o, or several lengths; --plot"),
        (["-m", "x", "-p", "1,2", "--peers", "none"], "not allowed together: -o, or several lengths; --peers"),
        (["-m", "x", "--plot", "a.png", "--with-transformers"], "not allowed together: --plot; --with-transformers"),
        (["--download", "--plot", "a.png"], "--plot: expected -m, the IR to measure"),
        (["-m", "x", "--checkpoint", "d"], "--checkpoint: is for --peers and --with-transformers "),
        (
            ["-m", "x", "--peers", "none", "--engine_only"],
            "--engine_only: is for -o, or several lengths and --plot and ",
        ),
        (["-m", "x", "--plot", "a.png", "-M", "4"], "--max_new_tokens: is for --peers and -o, or several lengths and "),
        (["-m", "x", "--size", "gpt-2-xl"], "--size: is for --make_checkpoint, not for -m alone"),
        (["--make_checkpoint", "d", "--precision_hint", "f32"], "--precision_hint: is for --peers and "),
        (["--download", "--device", "GPU"], "--device: is for --peers and "),
        (["-m", "x", "-o", "md", "--int8_model", "y"], "--int8_model: is for --peers and --classify, not for -o"),
        (["-m", "x", "--max_num_seqs", "8"], "--max_num_seqs: is for --streams, not for -m alone"),
        (["-m", "x", "--streams", "8", "-p", "1,2"], "not allowed together: -o, or several lengths; --streams"),
        (["-m", "x", "--streams", "8", "--checkpoint", "d"], "--checkpoint: is for --peers and --with-transformers "),
        (["-m", "x", "--growth", "--streams", "8"], "not allowed together: --growth; --streams"),
        (["-m", "x", "--growth", "-p", "4"], "--prompt_tokens: is for "),
        (["-m", "x", "--growth", "-N", "0"], "--num_warmup: is for "),
        (["--download", "--growth"], "--growth: expected -m, the IR to measure"),
        (["--download", "--streams", "8"], "--streams: expected -m, the IR to measure"),
        (["-m", "x", "--streams", "0"], "argument --streams: expected a whole number from 1, got '0'"),
        (["-m", "x", "-p", "0,1"], "argument -p/--prompt_tokens: expected a whole number from 1, got '0'"),
    ],
)
def test_what_cannot_be_asked_for(capsys, arguments, line):
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert f"gpt2_benchmark: error: {line}" in capsys.readouterr().err


def reads_of_functions() -> dict[str, set[str]]:
    """Return the arguments that each function of modes.py reads, itself or in those to which it passes args."""
    functions = {
        node.name: node for node in ast.parse(inspect.getsource(benchmark)).body if isinstance(node, ast.FunctionDef)
    }

    def reads(name: str) -> set[str]:
        found = set()
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args":
                found.add(node.attr)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions:
                found |= reads(node.func.id) if any(getattr(part, "id", "") == "args" for part in node.args) else set()
        return found

    return {name: reads(name) for name in functions}


def test_every_mode_uses_its_flags_and_no_others():
    assert benchmark.MODES.keys() == FLAGS.keys()
    reads = reads_of_functions()
    for function in set(benchmark.MODES.values()):
        modes = [mode for mode in FLAGS if benchmark.MODES[mode] is function]
        taken = set().union(*(FLAGS[mode] for mode in modes))
        needless = {"engine_only", *modes}  # said already by the mode, which measures nothing else
        assert reads[function.__name__] - needless == taken - needless, modes


def test_every_flag_is_of_some_mode():
    parser = build_argparser()
    assert {action.dest for action in parser._actions} - {"help", "version"} == set().union(*FLAGS.values())

"""arguments: lists of lengths, and options that exclude each other."""

import pytest

from gpt2_tools.benchmark.arguments import parse


def test_a_single_length_leaves_the_form_as_it_was():
    args = parse(["-m", "x.xml"])
    assert (args.prompt_tokens, args.max_new_tokens, args.output) == ([128], [128], None)


def test_several_lengths_make_a_table():
    args = parse(["-m", "x.xml", "-p", "8,16,8", "-M", "4"])
    assert (args.prompt_tokens, args.max_new_tokens, args.output) == ([8, 16], [4], "md")
    assert parse(["-m", "x.xml", "-M", "4,5", "-o", "csv"]).output == "csv"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-m", "x", "-o", "md", "--plot", "a.png"], "not allowed together: -o, or several lengths; --plot"),
        (["-m", "x", "-p", "1,2", "--peers", "none"], "not allowed together: -o, or several lengths; --peers"),
        (["-m", "x", "--plot", "a.png", "--with-transformers"], "not allowed together: --plot; --with-transformers"),
        (["--download", "--plot", "a.png"], "--plot: expected -m, the IR to measure"),
        (["-m", "x", "-p", "0,1"], "argument -p/--prompt_tokens: expected a whole number from 1, got '0'"),
    ],
)
def test_what_cannot_be_asked_for(capsys, arguments, line):
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"gpt2_benchmark: error: {line}\n")

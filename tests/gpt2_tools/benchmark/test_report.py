"""report: rows in each form, complete, typed by hand."""

import json

from gpt2_tools.benchmark.engine.workload import LengthRow, Lengths
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.report import LINES, comma_separated, markdown

SAID = {
    "model": "public/gpt-2/FP16/gpt-2.xml",
    "threads": "2",
    "inference_precision": "f32",
    "back_end": "stateful",
    "versions": {"numpy": "2"},
}
WHOLE = {"load": Figure("s", (0.5,))}
ROW = LengthRow(
    Lengths(8, 4),
    {"first token": Figure("ms", (1.0, 3.0)), "prompt": Figure("tokens/s", (8.0, 8.0))},
    ["0123456789abcdef", "fedcba9876543210"],
)


def test_markdown_ends_in_the_line_of_json():
    *lines, last = LINES["md"](SAID, WHOLE, [ROW])
    assert lines == [
        "| model | back end | threads | precision | test    | tokens                    | first token, ms |",
        "| ----- | -------- | ------- | --------- | ------- | ------------------------- | --------------: |",
        "| gpt-2 | stateful | 2       | f32       | pp8+tg4 | 0123456789ab fedcba987654 |    2 (2 ± 1.41) |",
        "",
        "load  0.5 s",
        "",
    ]
    assert [last] == LINES["json"](SAID, WHOLE, [ROW])


def test_comma_separated_is_nothing_else():
    heading, row = LINES["csv"](SAID, WHOLE, [ROW])
    assert heading.startswith(
        "model,threads,inference_precision,back_end,test,prompt_tokens,max_new_tokens,tokens_sha256,"
    )
    assert row == (
        "public/gpt-2/FP16/gpt-2.xml,2,f32,stateful,pp8+tg4,8,4,0123456789abcdef fedcba9876543210,"
        "2.0,2.0,1.414214,8.0,8.0,0.0,0.5,0.5,0.0"
    )


def test_json():
    (line,) = LINES["json"](SAID, WHOLE, [ROW])
    parsed = json.loads(line)
    assert parsed["figures"]["load"]["median"] == 0.5
    (row,) = parsed["rows"]
    assert row.pop("figures")["first token"]["mean"] == 2.0
    assert row == {
        "test": "pp8+tg4",
        "prompt_tokens": 8,
        "max_new_tokens": 4,
        "tokens_sha256": ["0123456789abcdef", "fedcba9876543210"],
    }
    assert parsed["versions"] == {"numpy": "2"}


ROWS = [
    ({"model": "gpt-2", "test": "pp8"}, {"a": Figure("ms", (1.0, 2.0, 6.0)), "b / c": Figure("x", (0.5,))}),
    ({"model": "a|b, c", "test": "pp16"}, {"a": Figure("ms", (10.0, 10.0)), "b / c": Figure("x", (123.456,))}),
]


def test_rows_as_markdown():
    assert markdown(ROWS) == [
        "| model   | test |        a, ms |          b / c, x |",
        "| ------- | ---- | -----------: | ----------------: |",
        "| gpt-2   | pp8  | 2 (3 ± 2.65) |     0.5 (0.5 ± 0) |",
        "| a\\|b, c | pp16 |  10 (10 ± 0) | 123.5 (123.5 ± 0) |",
    ]


def test_rows_as_csv():
    assert comma_separated(ROWS) == [
        "model,test,a_ms_median,a_ms_mean,a_ms_std,b_over_c_x_median,b_over_c_x_mean,b_over_c_x_std",
        "gpt-2,pp8,2.0,3.0,2.645751,0.5,0.5,0.0",
        '"a|b, c",pp16,10.0,10.0,0.0,123.456,123.456,0.0',
    ]


def test_units_in_the_names_of_columns():
    (heading, _) = comma_separated([({}, {"memory read": Figure("GB/s", (1.0,))})])
    assert heading == "memory_read_GB_per_s_median,memory_read_GB_per_s_mean,memory_read_GB_per_s_std"

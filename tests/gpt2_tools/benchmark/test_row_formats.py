"""row_formats: whole tables, typed by hand."""

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.row_formats import comma_separated, markdown

ROWS = [
    ({"model": "gpt-2", "test": "pp8"}, {"a": Figure("ms", (1.0, 2.0, 6.0)), "b / c": Figure("x", (0.5,))}),
    ({"model": "a|b, c", "test": "pp16"}, {"a": Figure("ms", (10.0, 10.0)), "b / c": Figure("x", (123.456,))}),
]


def test_markdown():
    assert markdown(ROWS) == [
        "| model   | test |        a, ms |          b / c, x |",
        "| ------- | ---- | -----------: | ----------------: |",
        "| gpt-2   | pp8  | 2 (3 ± 2.65) |     0.5 (0.5 ± 0) |",
        "| a\\|b, c | pp16 |  10 (10 ± 0) | 123.5 (123.5 ± 0) |",
    ]


def test_comma_separated():
    assert comma_separated(ROWS) == [
        "model,test,a_ms_median,a_ms_mean,a_ms_std,b_over_c_x_median,b_over_c_x_mean,b_over_c_x_std",
        "gpt-2,pp8,2.0,3.0,2.645751,0.5,0.5,0.0",
        '"a|b, c",pp16,10.0,10.0,0.0,123.456,123.456,0.0',
    ]


def test_units_in_the_names_of_columns():
    (heading, _) = comma_separated([({}, {"memory read": Figure("GB/s", (1.0,))})])
    assert heading == "memory_read_GB_per_s_median,memory_read_GB_per_s_mean,memory_read_GB_per_s_std"

"""figures: medians, spreads and checksums, worked out by hand."""

from gpt2_tools.benchmark.figures import Figure, Repeats, checksum


def test_a_figure_quotes_its_median_and_shows_its_spread():
    figure = Figure("ms", (3.0, 1.0, 10.0, 2.0))
    assert figure.median == 2.5
    assert figure.text() == "2.5 ms (1 .. 10)"
    as_json = {"median": 2.5, "min": 1.0, "max": 10.0, "mean": 4.0, "std": 4.0825, "runs": 4, "unit": "ms"}
    assert figure.as_json() == as_json  # the squares from the mean are 1, 9, 36, 4; 50 / 3 = 4.0825^2
    assert Figure("s", (0.25,)).text() == "0.25 s"
    assert Figure("s", (0.25,)).std == 0


def test_what_warms_up_does_not_count():
    numbers = iter(range(9))
    assert Repeats(2, 3).of(lambda: next(numbers)) == [2, 3, 4]
    assert next(numbers) == 5


def test_a_checksum_is_that_of_the_numbers_with_spaces_between():
    """As printf '1 22 333' | sha256sum has it."""
    assert checksum([1, 22, 333]) == "dd42855f03ee838e8ac7b0a10fb2f1efb7bb17a51eb4041f67f4be84bc4c5bfd"

"""What the demo says on stderr."""

from gpt2_text_prediction.cli.terminal import say


def test_what_would_paint_the_terminal_is_escaped(capsys):
    say("ERROR", "\tthe setting '\x1b[2J': a\nb\r\udcff ä日")
    assert capsys.readouterr() == ("", "[ ERROR ] \tthe setting '\\x1b[2J': a\\nb\\r\\udcff ä日\n")

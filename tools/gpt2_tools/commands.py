"""The console commands, which import what they run only where Ctrl-C cannot get lost in it."""

from omz_model_tools.interrupt import ends_at_once


def benchmark() -> int:
    """Run gpt2_benchmark."""
    with ends_at_once():
        from gpt2_tools.benchmark import main  # noqa: PLC0415
    return main()


def export() -> int:
    """Run gpt2_export."""
    with ends_at_once():
        from gpt2_tools.export import main  # noqa: PLC0415
    return main()


def evaluate() -> int:
    """Run gpt2_evaluate."""
    with ends_at_once():
        from gpt2_tools.evaluate import main  # noqa: PLC0415
    return main()

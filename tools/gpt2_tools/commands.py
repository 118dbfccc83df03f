"""The entry points of the console commands. Each imports its tool where Ctrl-C ends it without a traceback."""

from omz_model_tools.common import ends_at_once


def benchmark() -> int:
    """Run gpt2_benchmark."""
    with ends_at_once():
        from gpt2_tools.benchmark.cli import main  # noqa: PLC0415
    return main()


def export() -> int:
    """Run gpt2_export."""
    with ends_at_once():
        from gpt2_tools.export.cli import main  # noqa: PLC0415
    return main()


def evaluate() -> int:
    """Run gpt2_evaluate."""
    with ends_at_once():
        from gpt2_tools.evaluate.cli import main  # noqa: PLC0415
    return main()


def finetune() -> int:
    """Run gpt2_finetune."""
    with ends_at_once():
        from gpt2_tools.finetune.cli import main  # noqa: PLC0415
    return main()


def accuracy_check() -> int:
    """Run accuracy_check."""
    with ends_at_once():
        from gpt2_tools.evaluate.accuracy_check_cli import main  # noqa: PLC0415
    return main()

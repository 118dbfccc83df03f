"""The console commands. Each handles Ctrl-C first and imports the rest afterwards, so that no Ctrl-C gets lost."""

from gpt2_text_prediction.cli.interrupt import end_at_once


def demo() -> int:
    """Run gpt2_text_prediction_demo."""
    end_at_once()
    from gpt2_text_prediction.cli.main import main  # noqa: PLC0415

    return main()


def classify() -> int:
    """Run gpt2_classify."""
    end_at_once()
    from gpt2_text_prediction.cli.classify.main import main  # noqa: PLC0415

    return main()

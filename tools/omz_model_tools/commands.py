"""The console commands, which import what they run only where Ctrl-C cannot get lost in it."""

from omz_model_tools.interrupt import ends_at_once


def downloader() -> int:
    """Run omz_downloader."""
    with ends_at_once():
        from omz_model_tools import cli  # noqa: PLC0415
    return cli.downloader()


def converter() -> int:
    """Run omz_converter."""
    with ends_at_once():
        from omz_model_tools import cli  # noqa: PLC0415
    return cli.converter()

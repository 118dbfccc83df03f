"""The entry points of the console commands; each imports its command where Ctrl-C cannot get lost."""

from omz_model_tools.common.interrupt import ends_at_once


def downloader() -> int:
    """Run omz_downloader."""
    with ends_at_once():
        from omz_model_tools.cli import downloader as command  # noqa: PLC0415
    return command.downloader()


def converter() -> int:
    """Run omz_converter."""
    with ends_at_once():
        from omz_model_tools.cli import converter as command  # noqa: PLC0415
    return command.converter()


def info_dumper() -> int:
    """Run omz_info_dumper."""
    with ends_at_once():
        from omz_model_tools.cli import info_dumper as command  # noqa: PLC0415
    return command.info_dumper()


def data_downloader() -> int:
    """Run omz_data_downloader."""
    with ends_at_once():
        from omz_model_tools.cli import data_downloader as command  # noqa: PLC0415
    return command.data_downloader()


def quantizer() -> int:
    """Run omz_quantizer."""
    with ends_at_once():
        from omz_model_tools.cli import quantizer as command  # noqa: PLC0415
    return command.quantizer()


def model_checker() -> int:
    """Run omz_model_checker."""
    with ends_at_once():
        from omz_model_tools.cli import model_checker as command  # noqa: PLC0415
    return command.model_checker()

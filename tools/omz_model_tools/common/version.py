"""The version of this package as it is installed."""


def version() -> str:
    from importlib import metadata  # noqa: PLC0415 - it costs more than a command needs to start

    return metadata.version("omz-gpt2")

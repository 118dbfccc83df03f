"""The installed version of this package."""


def version() -> str:
    from importlib import metadata  # noqa: PLC0415 - slow to import, and only --version and downloads need it

    return metadata.version("omz-gpt2")

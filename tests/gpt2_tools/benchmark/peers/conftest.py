"""The environment of the fake peer, created once a session by the real code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2_tools.benchmark.peers.environments import provide_environment
from support.fake_peer import fake_peer


@pytest.fixture(scope="session")
def created(made_once) -> Path:
    """Return a folder with the peer (fake/), the cache in which its environment was created, and what was said."""

    def make(folder: Path) -> None:
        said: list[str] = []
        provide_environment(
            "fake", fake_peer(folder / "fake", {}).folder / "fake.txt", folder / "cache", {}, said.append
        )
        (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")

    return made_once("fake_peer", make)


@pytest.fixture(scope="session")
def new_cache(created) -> Callable[[Path], Path]:
    """Return a function that makes a cache which has nothing but that environment."""

    def make(cache: Path) -> Path:
        (environment,) = (created / "cache/environments").glob("fake-*/")
        (cache / "environments").mkdir(parents=True)
        (cache / "environments" / environment.name).symlink_to(environment)
        return cache

    return make

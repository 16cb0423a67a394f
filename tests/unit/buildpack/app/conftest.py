"""Tiny apps, read under a hostile environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from buildpack.app.read import App, read_app
from buildpack.errors import BuildpackError
from buildpack.options import Options

APPS = Path(__file__).parents[3] / "apps"
TODAY = date(2025, 11, 20)


@pytest.fixture(autouse=True)
def _hostile(hostile: None) -> None:
    """Every test here runs under the hostile environment."""


@pytest.fixture
def read() -> Callable[..., App]:
    """Read an app of tests/apps by its name, or the one at a path."""

    def run(app: str | Path, *, installed: Callable[[], Iterable[str]] = tuple, **options: Any) -> App:
        return read_app(
            APPS / app,
            Options(**options),
            environ=dict(os.environ),
            today=TODAY,
            own_python="3.11",
            installed=installed,
        )

    return run


@pytest.fixture
def fail(read: Callable[..., App]) -> Callable[..., BuildpackError]:
    """Read an app that cannot be built; gives the error."""

    def run(app: str | Path, **flags: str) -> BuildpackError:
        with pytest.raises(BuildpackError) as caught:
            read(app, **flags)
        return caught.value

    return run

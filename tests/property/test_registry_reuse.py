"""Whatever changed since the last push, an empty machine makes of it what one that fetches everything makes.

Each example is a history of an app: its packages and its code, pushed by a machine that knows nothing but the stack.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildpack.delivery.pushing import push_built
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from buildpack.options import Options
from buildpack.pipeline import build
from buildpack.steps.built import BuiltImage
from tests.property.conftest import SCALE
from tests.support.index import Index, serving
from tests.support.tiny import build_here, entry, environ, session_of, with_stack, write_app, write_lock
from tests.support.wheels import write_wheel

pytestmark = pytest.mark.registry

NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
VERSIONS = ("1.0", "2.0")
NUMBERS = itertools.count()
"""Of repositories, since each example begins with an empty one."""


@dataclass(frozen=True, kw_only=True)
class World:
    """An index with two versions of each package, and a store that knows all that was ever built."""

    registry: str
    index: Index
    locked: Mapping[tuple[str, str], Any]
    app: Path
    home: Path
    environ: Mapping[str, str]

    def __repr__(self) -> str:
        return "world"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One state of the app: which version of which package, and what its code says."""

    packages: Mapping[str, str]
    line: int


STEPS = st.builds(
    Step,
    packages=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS), min_size=1),
    line=st.integers(min_value=0, max_value=2),
)


@pytest.fixture(scope="module")
def world(registry: str) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="deploy-reuse-"))
    locked = {}
    with serving() as index:
        for number, name in enumerate(NAMES):
            for version in VERSIONS:
                files = {f"{name}/__init__.py": f"VERSION = '{version}'\n".encode() * (1 + 30 * number)}
                wheel = write_wheel(folder, files, name=name, version=version)
                index.add(name, wheel.name, wheel.read_bytes())
                locked[name, version] = entry(wheel.read_bytes(), version=version)
        app = write_app(folder / "app", {name: locked[name, "1.0"] for name in NAMES})
        variables = {**os.environ, **environ(index)}
        build_here(app, folder / "home", variables)
        yield World(registry=registry, index=index, locked=locked, app=app, home=folder / "home", environ=variables)
    shutil.rmtree(folder)


def push(world: World, home: Path, name: str) -> BuiltImage:
    """Build as ``--to registry`` does, in this process."""
    reference = parse_reference(f"{world.registry}/{name}")
    with Transport(world.environ, homes=[reference]) as transport:
        session = session_of(home, world.environ, transport=transport)
        built = build(
            world.app,
            options=Options(references=(str(reference),), pushed=True, whole=False),
            session=session,
        )
        pushed = push_built(built, [reference], session)
        registry = Registry(reference, transport)
        assert registry.find_digest(reference.selector) == built.image.digest == pushed.digest
    return built.images[0]


@settings(max_examples=max(5, int(60 * SCALE)))
@given(history=st.lists(STEPS, min_size=2, max_size=3))
def test_a_machine_that_knows_nothing_makes_the_same_image(world: World, history: list[Step]) -> None:
    name = f"reuse-property/app-{next(NUMBERS)}:1"
    before: set[str] = set()
    for step in history:
        write_lock(world.app, {package: world.locked[package, step.packages[package]] for package in step.packages})
        (world.app / "tiny" / "page.html").write_text(f"<p>{step.line}</p>\n")
        with tempfile.TemporaryDirectory() as folder:
            world.index.asked.clear()
            built = push(world, with_stack(world.home, Path(folder) / "home"), name)
            written = {
                member.name for made, _ in built.layers if made.source == "built" for member in made.planned.members
            }
            asked = {path.split("/")[2] for path in world.index.paths() if path.startswith("/simple/")}
        assert asked == written
        taken = {str(made.layer.digest) for made, _ in built.layers if made.source == "registry"}
        assert taken <= before
        before |= {str(layer.digest) for layer in built.image.layers}
        assert built.image.digest == build_here(world.app, world.home, world.environ).image.digest

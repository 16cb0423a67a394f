"""Whatever happens to a folder: where the record answers, building from scratch gives the same digest."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from buildpack.delivery.deliver import build_and_deliver
from buildpack.errors import BuildpackError
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.session import open_session
from buildpack.steps.built import Built
from deployer.building.record import ask, recall
from deployer.building.recording import write_record
from deployer.cli.build import answer_of
from deployer.cli.summary import unchanged
from tests.property.conftest import FULL_COUNT, SCALE
from tests.support.unchanged import SETTLE, make_app

NAMES = ("server.py", "app.py", "pages/index.html", "pages/more.html", "deep/er/module.py", "a.log", "logs/b.log")
CONTROL = {
    ".gitignore": ("*.log\n", "pages/\n", "logs\n!server.py\n", ""),
    "pages/.gitignore": ("*\n", "*.html\n", ""),
    ".dockerignore": ("pages\n!pages/more.html\n", "*.py\n", "**/*.log\n", ""),
    "Procfile": ("web: python server.py\n", "web: python app.py\nworker: python -c pass\n"),
    "app.json": ('{"formation": {"web": {"quantity": 2}}}', "{}"),
    "deploy.toml": ('stack = "host"\nname = "one"\n', 'stack = "host"\nname = "two"\n'),
}
TEXTS = ("APP = 1\n", "APP = 2\n", "", "app = make()\n")


@dataclass(frozen=True)
class Edit:
    """Something done to a file; with `sly`, its size and times are kept where they can be."""

    kind: str
    name: str
    text: str = ""
    other: str = ""
    sly: bool = False

    def apply(self, folder: Path) -> None:
        path = folder / self.name
        if self.kind == "write":
            self._write(path)
        elif self.kind == "delete":
            path.unlink(missing_ok=True)
        elif self.kind == "rename" and path.exists():
            target = folder / self.other
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        elif self.kind == "link" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(os.path.relpath(folder / self.other, path.parent))
        elif self.kind == "mode" and path.exists():
            path.chmod(path.stat().st_mode ^ 0o100)
        elif self.kind == "remove folder" and path.parent != folder:
            shutil.rmtree(path.parent, ignore_errors=True)
        elif self.kind == "touch" and path.exists():
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat() if path.exists() else None
        if before is None:
            path.unlink(missing_ok=True)  # a link that leads nowhere, or in a circle
        path.write_text(self.text)
        if self.sly and before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


names = st.sampled_from(NAMES)
edits = st.one_of(
    st.builds(Edit, st.just("write"), names, st.sampled_from(TEXTS), sly=st.booleans()),
    st.sampled_from(sorted(CONTROL)).flatmap(
        lambda name: st.builds(Edit, st.just("write"), st.just(name), st.sampled_from(CONTROL[name]), sly=st.booleans())
    ),
    st.builds(Edit, st.sampled_from(("delete", "mode", "touch", "remove folder")), names),
    st.builds(Edit, st.sampled_from(("rename", "link")), names, other=names),
    st.builds(
        Edit, st.just("delete"), st.sampled_from((".gitignore", "pages/.gitignore", ".dockerignore", "app.json"))
    ),
)
rounds = st.lists(st.lists(edits, max_size=3), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unchanged")


class Bench:
    """A folder, a store, and another store that has no records and believes nothing."""

    def __init__(self, place: Path) -> None:
        self.app = place / "app"
        shutil.rmtree(self.app, ignore_errors=True)
        make_app(self.app)
        self.home, self.other = place / "home", place / "other"
        own = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        self.environ = {**own, "DEPLOY_HOME": str(self.home)}

    def build(self, home: Path, *, no_cache: bool = False) -> Built | None:
        """Build, and have the error that an app with mistakes deserves count as no answer."""
        try:
            session = open_session(Store(home), self.environ)
            return build_and_deliver(self.app, options=Options(no_cache=no_cache), session=session)
        except BuildpackError:
            return None

    def remembered(self) -> str | None:
        """Ask as the command does; where there is no answer, build and record."""
        asked = ask(["build", str(self.app)], self.environ, now=time.time())
        assert asked is not None
        if answer := recall(asked):
            return str(answer["report"]["digest"])
        if made := self.build(self.home):
            answer = answer_of(made, [], app=str(self.app), style="plain", loaded=False, special=False)
            write_record(
                asked,
                made,
                unchanged(answer),
                store=Store(self.home),
                environ=self.environ,
                now=time.time(),
            )
        return None


@settings(max_examples=max(5, int(FULL_COUNT * SCALE / 5)))
@given(rounds=rounds, tracked=st.booleans())
def test_the_record_never_answers_what_a_build_would_not(place: Path, rounds: list[list[Edit]], tracked: bool) -> None:
    bench = Bench(place)
    if tracked:
        os.system(f"git -C {bench.app} init -q && git -C {bench.app} add server.py")
    for edits_made in [[], *rounds]:
        for edit in edits_made:
            edit.apply(bench.app)
        time.sleep(SETTLE)
        told = bench.remembered() or bench.remembered()
        event("the record answers" if told else "there is no record")
        if told is None:
            continue
        fresh = bench.build(bench.other)
        assert fresh is not None, "the record answers where a build would fail"
        assert str(fresh.image.digest) == told
    if told is not None:
        scratch = bench.build(bench.other, no_cache=True)
        assert scratch is not None
        assert str(scratch.image.digest) == told

"""Byte code is a function of the source, its path and the interpreter, and of nothing else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.oci.entry import Entry, file
from buildpack.python.bytecode import Compiler, pyc_path
from buildpack.system.compile_process import CompilingPython
from tests.support.pythons import one_of_each
from tests.support.wheels import content_bytes

pytestmark = pytest.mark.slow

MODULES = (
    "json/__init__",
    "json/decoder",
    "argparse",
    "dataclasses",
    "enum",
    "typing",
    "textwrap",
    "shlex",
    "ast",
    "bisect",
)

SETS = b"""
def everything(x): return x in {None, ..., "a", b"b", 1, 2.5, True, ("t", None, ("u", ...)), 1j}
def few(x): return x in {None, False}
def nested(x): return (x in {"alpha", "beta", "gamma"}, lambda y: y in {None, "delta", x})
"""


INTERPRETERS = {series: found for series, found in one_of_each().items() if series < "3.14"}
"""One per version that byte code is made for."""


def corpus() -> list[Entry]:
    library = Path(os.__file__).parent
    texts = {name: (library / f"{name}.py").read_bytes() for name in MODULES}
    return [file(f"opt/venv/{name}.py", text) for name, text in {**texts, "sets": SETS}.items()]


@contextmanager
def circumstances(cwd: Path, umask: int, environ: dict[str, str]) -> Iterator[None]:
    """Change what a careless compiler would take from its parent."""
    before, mask, place = dict(os.environ), os.umask(umask), Path.cwd()
    os.chdir(cwd)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
        os.umask(mask)


def python(path: str, version: str, tag: str) -> CompilingPython:
    return CompilingPython(argv=(path,), version=version, cache_tag=tag)


def compile_once(minor: str, entries: list[Entry], *, chunk: int, jobs: int) -> dict[str, str]:
    version, path = INTERPRETERS[minor]
    with tempfile.TemporaryDirectory() as folder:
        tag = f"cpython-{minor.replace('.', '')}"
        compiler = Compiler(python(path, version, tag), folder=Path(folder), jobs=jobs, chunk=chunk)
        with compiler:
            made = compiler.submit("corpus", entries).result()
        return {each.path: hashlib.sha256(content_bytes(each.content)).hexdigest() for each in made}


@cache
def expected(minor: str) -> dict[str, str]:
    return compile_once(minor, corpus(), chunk=1 << 30, jobs=1)


@pytest.mark.parametrize("minor", sorted(INTERPRETERS))
@given(
    order=st.permutations(corpus()),
    chunk=st.sampled_from([1, 5_000, 100_000]),
    jobs=st.integers(1, 3),
    umask=st.sampled_from([0, 0o022, 0o077]),
    seed=st.sampled_from(["random", "0", "1", "4294967295"]),
    padding=st.integers(0, 5000),
)
def test_same_bytes_in_all_circumstances(
    minor: str, order: list[Entry], chunk: int, jobs: int, umask: int, seed: str, padding: int
) -> None:
    environ = {
        "PYTHONHASHSEED": seed,
        "PYTHONOPTIMIZE": "2",
        "PYTHONPATH": "/no/such",
        "PADDING": "x" * padding,
        "LC_ALL": "C",
        "TZ": "Pacific/Chatham",
    }
    with tempfile.TemporaryDirectory() as cwd, circumstances(Path(cwd), umask, environ):
        made = compile_once(minor, order, chunk=chunk, jobs=jobs)
    tag = f"cpython-{minor.replace('.', '')}"
    compiled = {path: made[path] for path in (pyc_path(entry.path, tag) for entry in corpus()) if path in made}
    assert compiled == expected(minor)
    assert set(made) == set(compiled)


@pytest.mark.parametrize("minor", sorted(INTERPRETERS))
def test_the_interpreter_loads_it_without_the_source(minor: str, tmp_path: Path) -> None:
    """Byte code still counts if the source was changed after compiling: it is unchecked."""
    version, path = INTERPRETERS[minor]
    tag = f"cpython-{minor.replace('.', '')}"
    sources = [file("a/__init__.py", b"x = 'compiled'\n"), file("a/b.py", SETS + b"x = 'compiled'\n")]
    with Compiler(python(path, version, tag), folder=tmp_path / "packs", jobs=2) as compiler:
        made = compiler.submit("w", sources).result()
    for entry in (*sources, *made):
        target = tmp_path / "site" / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content_bytes(entry.content))
    for source in sources:
        (tmp_path / "site" / source.path).write_bytes(b"x = 'read from the source'\n")
    script = (
        "import a, a.b; print(a.x, a.b.x, a.b.__cached__)\n"
        "print(a.b.everything(None), a.b.everything(('t', None, ('u', ...))), a.b.everything('z'), a.b.few(False))\n"
        "print([a.b.nested('beta')[0], a.b.nested(7)[1](7)], a.b.everything.__code__.co_filename)"
    )
    environ = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([path, "-c", script], capture_output=True, text=True, env=environ, check=True)
    assert ran.stdout.splitlines() == [
        f"compiled compiled {tmp_path}/site/a/__pycache__/b.{tag}.pyc",
        "True True False True",
        f"[True, True] {tmp_path}/site/a/b.py",
    ]


def test_the_interpreter_that_runs_the_tests_is_among_them() -> None:
    assert ".".join(map(str, sys.version_info[:2])) in INTERPRETERS

"""Laws of the preflight: it never fails, and never misses a name that Python itself binds."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.bindings import parse_globals
from buildpack.app.checks.image_files import list_files
from buildpack.app.checks.processes import check_processes
from buildpack.app.findings import Doubt
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.procfile import Process
from buildpack.app.source import read_source

NAMES = ("app", "APP", "create_app", "other")
name = st.sampled_from(NAMES)

SIMPLE = st.one_of(
    *(
        name.map(lambda one, form=form: form.format(one))
        for form in (
            "{} = 1",
            "{}: int = 1",
            "{}: int",
            "x, *{} = 1, 2",
            "def {}(): pass",
            "async def {}(a, *b): pass",
            "class {}: inner = 1",
            "import os as {}",
            "from os import path as {}",
            "for {} in (1,): pass",
            "with open('/dev/null') as {}: pass",
            "print(({} := 1), end='')",
            "[one for one in (({} := 2),)]",
            "def make():\n    global {0}\n    {0} = 1\nmake()",
            "try: 1 / 0\nexcept ZeroDivisionError as {}: pass",
            "match [1, 2]:\n    case [{}, *rest]: pass",
            "match {{'a': 1}}:\n    case {{**{}}}: pass",
            "lambda {}: 1",
            "if __name__ == '__main__':\n    {} = 1",
            "if __name__ != '__main__':\n    {} = 1",
            "if __name__ == '__main__':\n    pass\nelse:\n    {} = 1",
            "del {0}\nexcept_ = 1",
            "globals()['{}'] = 1",
        )
    )
)


def indented(body: list[str]) -> str:
    return "\n".join("    " + line for one in body for line in one.splitlines())


STATEMENT = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda body: "if True:\n" + indented(body)),
        st.lists(inner, min_size=1, max_size=2).map(lambda body: "while True:\n" + indented(body) + "\n    break"),
        st.lists(inner, min_size=1, max_size=2).map(lambda body: "try:\n" + indented(body) + "\nfinally:\n    pass"),
        st.lists(inner, min_size=1, max_size=2).map(lambda body: "def outer():\n" + indented(body)),
    ),
    max_leaves=6,
)


@given(st.lists(STATEMENT, max_size=6))
def test_every_name_that_an_import_binds_is_seen(statements: list[str]) -> None:
    source = "\n".join(statements)
    scope: dict[str, object] = {"__name__": "imported"}
    with contextlib.suppress(NameError, SyntaxError):  # it deletes what is not there, or a `global` comes too late
        exec(compile(source, "module", "exec", dont_inherit=True), scope)
    found = parse_globals(source.encode())
    if found is not None:
        assert {one for one in NAMES if one in scope} <= set(found.names)
        assert (set(found.script) - set(found.names)).isdisjoint(scope)


WORDS = st.sampled_from((
    "gunicorn", "uvicorn", "flask", "run", "daphne", "hypercorn", "waitress-serve", "python", "-m", "celery", "-A",
    "manage.py", "runserver", "app.py", "m:app", "m.sub:app", "blasto:APP", "'m:create()'", '"m:app"', "m", "-b",
    "--bind=0.0.0.0:$PORT", "--port", "80", "-c", "gunicorn.conf.py", "--chdir", "src", "--pythonpath", "src,.",
    "cd", "&&", ";", "|", ">", "<", "&", "(", ")", "exec", "env", "X=1", "PYTHONPATH=src", "$PORT", "${PORT}", "'",
    '"', "\\", "`date`", "$(", "--",
))  # fmt: skip
COMMAND = st.one_of(st.lists(WORDS, min_size=1, max_size=9).map(" ".join), st.text(min_size=1, max_size=40))
FILE = st.one_of(
    st.just(b""), st.binary(max_size=40), st.lists(STATEMENT, max_size=3).map(lambda one: "\n".join(one).encode())
)
LOCK = Lock(packages=(LockedPackage(name="gunicorn", version="1", hashes=("sha256:0",)),), sources=())


@given(
    commands=st.lists(COMMAND, max_size=4),
    files=st.dictionaries(
        st.sampled_from(["m.py", "m/__init__.py", "src/m.py", "app.py", "gunicorn.conf.py", "blasto/__init__.py"]), FILE
    ),
    stack=st.sampled_from([None, "host", "ghcr.io/me/base"]),
)
def test_a_check_ends_with_anything_in_the_folder(
    commands: list[str], files: dict[str, bytes], stack: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder) / path
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        processes = [Process(name="web", command=command, line=n) for n, command in enumerate(commands, start=1)]
        tree = read_source(Path(folder), environ={})
        for one in check_processes(processes, files=list_files(tree, LOCK), lock=LOCK, stack=stack):
            found = one.finding if isinstance(one, Doubt) else one
            assert str(found)
            assert found.place.partition(":")[0] in {"Procfile", *files}

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from buildpack.oci.entry import Entry, FileSlice, file
from buildpack.python.bytecode import Compilation, Compiler
from buildpack.python.wheel import read_wheel
from buildpack.system.compile_process import CompileError, CompileProcess, CompilingPython, pyc_path, unsupported
from tests.support.wheels import LAYOUT, SITE, content_bytes, write_wheel

VERSION = ".".join(map(str, sys.version_info[:3]))
TAG = str(sys.implementation.cache_tag)

MakeCompiler = Callable[..., Compiler]


def python(*argv: str, **settings: object) -> CompilingPython:
    given: dict[str, Any] = {"version": VERSION, "cache_tag": TAG, **settings}
    return CompilingPython(argv=argv or (sys.executable,), **given)


@pytest.fixture
def compiler(tmp_path: Path) -> MakeCompiler:
    def make(*argv: str, **settings: object) -> Compiler:
        given = {name: settings.pop(name) for name in ("version", "cache_tag", "environ") if name in settings}
        chosen = {"folder": tmp_path / "packs", "jobs": 2, **settings}
        return Compiler(python(*argv, **given), **chosen)  # type: ignore[arg-type]

    return make


def sources(**modules: str) -> list[Entry]:
    return [file(f"{SITE}/{name}.py", textwrap.dedent(text).encode()) for name, text in modules.items()]


def fake_python(tmp_path: Path, script: str) -> str:
    """Write a program that is started as if it were an interpreter."""
    path = tmp_path / "fake-python"
    path.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}")
    path.chmod(0o755)
    return str(path)


def compiled(made: tuple[Entry, ...]) -> dict[str, bytes]:
    return {entry.path: content_bytes(entry.content) for entry in made}


def failure(compilation: Compilation) -> str:
    with pytest.raises(CompileError) as error:
        compilation.result()
    return str(error.value)


def test_a_pyc_is_hash_based_unchecked_and_names_the_images_path(compiler: MakeCompiler) -> None:
    with compiler() as started:
        made = compiled(started.submit("w", sources(a="x = 1\n")).result())
    (path, body) = next(iter(made.items()))
    assert path == f"{SITE}/__pycache__/a.{TAG}.pyc"
    assert body[:4] == importlib.util.MAGIC_NUMBER
    assert body[4:8] == b"\1\0\0\0"
    assert body[8:16] == importlib.util.source_hash(b"x = 1\n")
    code = marshal.loads(body[16:])
    assert isinstance(code, CodeType)
    assert code.co_filename == f"/{SITE}/a.py"


def test_reads_the_modules_from_the_wheel(tmp_path: Path, compiler: MakeCompiler) -> None:
    wheel = write_wheel(tmp_path, {f"demo/m{number}.py": b"x = %d\n" % number for number in range(50)})
    contents = read_wheel(wheel, layout=LAYOUT)
    with compiler(chunk=20) as started:
        made = compiled(started.submit("w", contents.sources).result())
    assert len(made) == 50
    for number in range(50):
        names: dict[str, object] = {}
        exec(marshal.loads(made[f"{SITE}/demo/__pycache__/m{number}.{TAG}.pyc"][16:]), names)
        assert names["x"] == number


def test_modules_that_do_not_compile_are_left_out(compiler: MakeCompiler) -> None:
    given = sources(py2="print 1\n", template="x = {{ it }\n", nul="x = '\0'\n", good="", deep="(" * 500)
    with compiler() as started:
        made = started.submit("w", given).result()
    assert [entry.path for entry in made] == [f"{SITE}/__pycache__/good.{TAG}.pyc"]


def test_no_sources_no_process(tmp_path: Path, compiler: MakeCompiler) -> None:
    with compiler(str(tmp_path / "no-such")) as started:
        assert started.submit("w", []).result() == ()


class TestPacks:
    def test_a_second_run_starts_no_process(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        with compiler() as first:
            made = first.submit("w", sources(a="x = 1\n", bad="x =\n")).result()
        with compiler(str(tmp_path / "no-such")) as second:
            again = second.submit("w", sources(a="x = 1\n", bad="x =\n"))
            assert again.done()
            assert again.result() == made
        assert [path.suffix for path in (tmp_path / "packs").iterdir()] == [".pycs"]

    def test_a_fresh_compiler_ignores_earlier_packs(self, compiler: MakeCompiler) -> None:
        with compiler() as first:
            old = compiled(first.submit("w", sources(a="A = 1")).result())
        with compiler() as trusting:
            assert compiled(trusting.submit("w", sources(a="A = 2")).result()) == old
        with compiler(fresh=True) as doubting:
            assert compiled(doubting.submit("w", sources(a="A = 2")).result()) != old

    def test_another_wheel_version_or_path_is_another_pack(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        with compiler() as first:
            first.submit("w", sources(a="x = 1\n")).result()
        with compiler(str(tmp_path / "no-such")) as second:
            assert failure(second.submit("other", sources(a="x = 1\n")))
        with compiler(str(tmp_path / "no-such")) as second:
            assert failure(second.submit("w", sources(b="x = 1\n")))
        with compiler(str(tmp_path / "no-such"), version="3.11.999") as second:
            assert failure(second.submit("w", sources(a="x = 1\n")))

    @pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + b"?", lambda b: b"{}\n", lambda b: b""])
    def test_a_damaged_pack_is_made_again(
        self, tmp_path: Path, compiler: MakeCompiler, damage: Callable[[bytes], bytes]
    ) -> None:
        with compiler() as first:
            first.submit("w", sources(a="x = 1\n")).result()
        (pack,) = (tmp_path / "packs").iterdir()
        good = pack.read_bytes()
        pack.write_bytes(damage(good))
        with compiler() as second:
            assert second.submit("w", sources(a="x = 1\n")).result()
        assert pack.read_bytes() == good

    def test_several_at_once(self, compiler: MakeCompiler) -> None:
        given = {str(number): sources(a=f"x = {number}\n", b="y = 2\n") for number in range(30)}
        with compiler(chunk=1) as started:
            waiting = {identity: started.submit(identity, each) for identity, each in given.items()}
            for identity, compilation in waiting.items():
                names: dict[str, object] = {}
                exec(marshal.loads(compiled(compilation.result())[f"{SITE}/__pycache__/a.{TAG}.pyc"][16:]), names)
                assert names["x"] == int(identity)

    def test_two_builds_at_once(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        results: list[tuple[Entry, ...]] = []

        def build() -> None:
            with compiler() as started:
                results.append(started.submit("w", sources(a="x = 1\n")).result())

        threads = [threading.Thread(target=build) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 4
        assert len({hashlib.sha256(repr(compiled(each)).encode()).hexdigest() for each in results}) == 1


class TestNoByteCode:
    """A failing interpreter gives a reason."""

    def reason(self, started: Compiler) -> str:
        with started:
            given = started.submit("w", sources(a="x = 1\n")), started.submit("v", sources(b="x = 1\n"))
            reasons = {failure(each) for each in given}
            assert failure(started.submit("u", sources(c=""))) in reasons
        (reason,) = reasons
        return reason

    def test_it_is_not_there(self, compiler: MakeCompiler) -> None:
        assert self.reason(compiler("/no/such/python")) == (
            "/no/such/python does not run on this machine: No such file or directory"
        )

    def test_it_ends_at_once(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        path = fake_python(tmp_path, "echo noise >&2; echo 'libpython3.11.so.1.0: not found' >&2; exit 127")
        assert self.reason(compiler(path)) == (
            f"{path} does not run on this machine: exit code 127 (libpython3.11.so.1.0: not found)"
        )

    def test_it_is_killed(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        path = fake_python(tmp_path, "kill -SEGV $$")
        assert self.reason(compiler(path)) == f"{path} does not run on this machine: signal SIGSEGV"

    def test_it_answers_something_else(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        path = fake_python(tmp_path, "echo hello; cat")
        assert self.reason(compiler(path)) == f"{path} does not run on this machine: it says b'hello'"

    def test_it_is_another_version(self, compiler: MakeCompiler) -> None:
        assert self.reason(compiler(version="3.11.99")) == (
            f"the interpreter is {TAG} {VERSION}, and the stack's is {TAG} 3.11.99"
        )

    def test_it_hangs(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        path = fake_python(tmp_path, "exec sleep 60")
        assert self.reason(compiler(path, timeout=0.2)) == "the interpreter gave no answer for 0.2 seconds"

    def test_it_dies_while_it_works(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        hello = f'echo \'{{"version": "{VERSION}", "cache_tag": "{TAG}"}}\''
        path = fake_python(tmp_path, f"{hello}; read job; echo oops >&2; exit 3")
        assert self.reason(compiler(path)) == "the interpreter ended while it compiled: exit code 3 (oops)"

    def test_a_job_fails(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        hello = f'echo \'{{"version": "{VERSION}", "cache_tag": "{TAG}"}}\''
        path = fake_python(tmp_path, f"{hello}; read job; echo '{{\"code\": -11}}'; cat")
        assert self.reason(compiler(path, jobs=1)) == (f"signal SIGSEGV while the interpreter compiled /{SITE}/a.py")

    def test_the_wheel_is_gone(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        missing = tmp_path / "missing.whl"
        with compiler() as started:
            reason = failure(started.submit("w", [file(f"{SITE}/a.py", FileSlice(missing, 5))]))
        assert reason == (
            f"exit code 1 while the interpreter compiled /{SITE}/a.py "
            f"(FileNotFoundError: [Errno 2] No such file or directory: '{missing}')"
        )

    def test_the_folder_cannot_be_written(self, tmp_path: Path, compiler: MakeCompiler) -> None:
        (tmp_path / "packs").mkdir()
        (tmp_path / "packs" / "x").write_bytes(b"")
        with pytest.raises(FileExistsError):
            compiler(folder=tmp_path / "packs" / "x").submit("w", sources(a=""))

    def test_probe_starts_the_interpreter_before_anything_is_compiled(
        self, tmp_path: Path, compiler: MakeCompiler
    ) -> None:
        with compiler() as started:
            assert started.probe() == ""
        with compiler("/no/such/python") as started:
            assert started.probe().startswith("/no/such/python does not run")
            assert failure(started.submit("w", sources(a=""))) == started.probe()
        assert not (tmp_path / "packs").exists()


def test_nothing_is_compiled_for_a_killed_build(tmp_path: Path) -> None:
    """A killed build also ends its interpreter's job."""
    module = tmp_path / "m.py"
    module.write_text("\n".join(f"x{number} = [{number}, (1, 2)]" for number in range(200_000)))
    out = tmp_path / "out"
    process = CompileProcess(python(), timeout=60)
    size = module.stat().st_size
    job = {"source": str(module), "out": str(out), "modules": [("m.py", 0, -1, size)] * 50}
    failed: list[str] = []

    def run() -> None:
        try:
            process.run(job)
        except CompileError as error:
            failed.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while not out.exists():
        time.sleep(0.01)
    assert process._process.stdin is not None
    process._process.stdin.close()  # as a death of this process would
    thread.join()
    process.close()
    assert len(failed) == 1


def test_stopping_waits_for_nothing(tmp_path: Path, compiler: MakeCompiler) -> None:
    hello = f'echo \'{{"version": "{VERSION}", "cache_tag": "{TAG}"}}\''
    path = fake_python(tmp_path, f"{hello}; touch {tmp_path}/started; exec sleep 60")
    with suppress(KeyboardInterrupt), compiler(path, jobs=1) as started:
        waiting = started.submit("w", sources(a=""))
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert failure(waiting) == "the build was stopped"
    assert list((tmp_path / "packs").iterdir()) == []


def test_the_environment_does_not_reach_the_interpreter(
    compiler: MakeCompiler, hostile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONHOME", "/no/such")
    with compiler() as started:
        made = compiled(started.submit("w", sources(a="'''Text.'''\nassert 1\n")).result())
    names: dict[str, object] = {}
    exec(marshal.loads(made[f"{SITE}/__pycache__/a.{TAG}.pyc"][16:]), names)
    assert names["__doc__"] == "Text."


def test_interpreters_that_compile_reproducibly() -> None:
    assert unsupported("3.10.13", "cpython-310") == ""
    assert unsupported("3.13.0", "cpython-313") == ""
    assert unsupported("3.14.0", "cpython-314") == "byte code of Python 3.14.0 is not known to be reproducible"
    assert unsupported("3.10.14", "pypy310") == "byte code of pypy310 is not known to be reproducible"


def test_the_path_of_byte_code() -> None:
    assert pyc_path("opt/a/b.py", "cpython-311") == "opt/a/__pycache__/b.cpython-311.pyc"
    assert "/" + pyc_path("opt/a/b.py", TAG) == importlib.util.cache_from_source("/opt/a/b.py")


def test_leaves_no_process_and_no_descriptor(compiler: MakeCompiler) -> None:
    def held() -> list[str]:
        children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
        return [*sorted(children), str(len(list(Path("/proc/self/fd").iterdir())))]

    before = held()
    with compiler() as started:
        started.submit("w", sources(a="x = 1\n", b="x = 2\n")).result()
    assert held() == before

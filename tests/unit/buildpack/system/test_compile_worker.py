"""The worker runs on every Python a stack may have, so these tests run all that this machine has."""

from __future__ import annotations

import marshal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from buildpack.stacks.find_python import HostPython
from buildpack.system.compile_process import CompileProcess, CompilingPython, read_pack
from tests.support.pythons import all_pythons, known_python

SOURCE = '''"""Text."""
NAMES = "alpha" in {"alpha", "beta", "gamma", "delta", 1, (2, 3)}
def greet(name: str = "you", *, times=[1, 2, 3][:2]) -> str:
    return f"hello {name}" * len(times)
class Thing:
    value = 1 << 70
'''


@pytest.fixture(params=sorted({path for _, path in all_pythons()}), ids=lambda path: path.strip("/").replace("/", "-"))
def python(request: pytest.FixtureRequest) -> HostPython:
    return known_python(request.param)


def work(python: HostPython, source: Path, pack: Path) -> bytes:
    """Compile a module of the interpreter's library; empty bytes if it has no byte code."""
    own = CompilingPython(argv=(str(python.executable),), version=python.version, cache_tag=python.cache_tag)
    process = CompileProcess(own, timeout=60)
    pack.unlink(missing_ok=True)
    with closing(process):
        process.run({"out": str(pack), "modules": [("/usr/local/lib/module.py", str(source))]})
    places = read_pack(pack)
    assert places is not None
    [(offset, size)] = places
    return pack.read_bytes()[offset : offset + size]


def test_byte_code_is_unchecked_and_names_the_image(python: HostPython, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    body = work(python, tmp_path / "module.py", tmp_path / "pack")
    assert body[4:8] == b"\1\0\0\0"
    assert b"/usr/local/lib/module.py" in body
    assert str(tmp_path).encode() not in body
    if python.version == sys.version.split()[0]:
        assert marshal.loads(body[16:]).co_filename == "/usr/local/lib/module.py"


def test_compiled_before_or_not_the_bytes_are_the_same(python: HostPython, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    fresh = work(python, tmp_path / "module.py", tmp_path / "pack")
    for seed in ("1", "2"):
        subprocess.run(
            [python.executable, "-m", "compileall", "-q", "-f", tmp_path], check=True, env={"PYTHONHASHSEED": seed}
        )
        assert (tmp_path / f"__pycache__/module.{python.cache_tag}.pyc").exists()
        assert work(python, tmp_path / "module.py", tmp_path / "pack") == fresh


def test_a_stale_pyc_is_not_believed(python: HostPython, tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 'old'\n")
    subprocess.run([python.executable, "-m", "compileall", "-q", tmp_path], check=True)
    source.write_text("VALUE = 'newer'\n")
    assert b"newer" in work(python, source, tmp_path / "pack")


def test_what_does_not_compile_is_left_out(python: HostPython, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("print 'python 2'\n")
    assert work(python, tmp_path / "module.py", tmp_path / "pack") == b""

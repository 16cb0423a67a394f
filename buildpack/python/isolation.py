"""A package's build in a virtual environment of its own, with nothing of ours in its environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from buildpack.dataclass import dataclass
from buildpack.network import CA_VARIABLES
from buildpack.processes import ProcessGroup

if TYPE_CHECKING:
    from buildpack.python.credentials import SourceUrl
    from buildpack.python.http import Client

__all__ = ["BuildFailedError", "Interpreter", "build_in_isolation", "inspect", "own_libc"]

EPOCH = "315532800"
"""1980-01-01, the oldest time that a zip can hold."""
_KEPT = 2000
"""Lines of output; compilers say first what they miss, and a backend's traceback comes after."""
_PASSED_ON = frozenset(
    {"PATH", "TMPDIR", "CC", "CXX", "AR", "LD", "CPPFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH",
     "LIBRARY_PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "JAVA_HOME"}
)  # fmt: skip
_FOR_FETCHING = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_ASK = "import platform; print(platform.python_version(), platform.machine(), *platform.libc_ver())"


class BuildFailedError(Exception):
    """A step failed: `stage` is "environment", "requirements" or "build"; `output` may hold credentials."""

    def __init__(self, stage: str, output: str) -> None:
        super().__init__(stage)
        self.stage = stage
        self.output = output


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What an interpreter on this machine says of itself."""

    version: str
    machine: str
    libc: tuple[str, int, int]

    def __str__(self) -> str:
        name, major, minor = self.libc
        return f"CPython {self.version} on {self.machine} with {name} {major}.{minor}"


def inspect(argv: Sequence[str]) -> Interpreter:
    """Ask an interpreter for its version and platform. Raises OSError or CalledProcessError where it does not run."""
    import subprocess

    ran = subprocess.run([*argv, "-I", "-B", "-c", _ASK], capture_output=True, text=True, check=True)
    version, machine, *libc = ran.stdout.split()
    name, number = libc if len(libc) == 2 else ("musl", "1.2")
    major, minor = [*number.split("."), "0"][:2]
    return Interpreter(version=version, machine=machine, libc=(name, int(major), int(minor)))


def own_libc() -> tuple[str, int, int] | None:
    """Return the C library that this process runs on; None for musl, which tells no version."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return None
    name, _, number = told.partition(" ")
    major, _, minor = number.partition(".")
    return (name, int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def build_in_isolation(
    project: Path, place: Path, *, argv: Sequence[str], client: Client, environ: Mapping[str, str]
) -> Path:
    """Build a project's wheel in a new environment under `place`; return its path. Raises BuildFailedError.

    What the build requires comes from the lock's sources. Only pip, which fetches it, sees their logins.
    """
    from build import BuildBackendException, BuildException, FailedProcessError, ProjectBuilder

    clean = _clean_environment(environ, place)
    python = _make_environment(argv, place / "venv", clean)
    output: list[str] = []

    def run(cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        path = f"{python.parent}:{clean['PATH']}"
        _run(cmd, {**clean, "PATH": path, **(extra_environ or {})}, output, cwd)

    try:
        builder = ProjectBuilder(project, str(python), runner=run)
        fetching = {**clean, **_fetching_environment(client.sources, environ)}
        _install(builder.build_system_requires, python, fetching)
        _install(builder.get_requires_for_build("wheel"), python, fetching)
        return Path(builder.build("wheel", str(place / "out")))
    except (BuildBackendException, BuildException, FailedProcessError) as error:
        raise BuildFailedError("build", "".join(output) or str(error)) from None


def _run(command: Sequence[str], environment: Mapping[str, str], output: list[str], cwd: str | None = None) -> None:
    import subprocess

    ran = ProcessGroup().run(command, folder=cwd or os.getcwd(), environment=environment, kept=_KEPT)  # noqa: PTH109
    told = "".join(f"{line}\n" for line in ran.lines)
    output.append(told)
    if ran.code:
        raise subprocess.CalledProcessError(ran.code, list(command), told)


def _make_environment(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Path:
    import subprocess

    output: list[str] = []
    try:
        _run([*argv, "-I", "-B", "-m", "venv", "--without-pip", str(folder)], environment, output)
    except (subprocess.CalledProcessError, OSError) as error:
        raise BuildFailedError("environment", "".join(output) or str(error)) from None
    return folder / "bin" / "python"


def _install(requirements: Iterable[str], python: Path, environment: Mapping[str, str]) -> None:
    import subprocess

    wanted = sorted(requirements)
    if not wanted:
        return
    pip = _bundled_pip()
    commands: list[tuple[str, list[str]]] = []
    if pip is None and not (python.parent / "pip").exists():
        commands.append(("environment", ["-m", "ensurepip", "--default-pip"]))
    run_pip = [str(pip)] if pip else ["-m", "pip"]
    commands.append(("requirements", [*run_pip, "install", "--no-warn-script-location", *wanted]))
    output: list[str] = []
    for stage, arguments in commands:
        try:
            _run([str(python), "-I", "-B", *arguments], environment, output)
        except subprocess.CalledProcessError:
            raise BuildFailedError(stage, "".join(output)) from None


def _bundled_pip() -> Path | None:
    """Return a pip that runs from its own wheel: virtualenv's, which pipenv needs and so is here.

    Putting one into the environment takes two seconds, and an interpreter may have none to put there.
    """
    try:
        from virtualenv.seed.wheels.embed import BUNDLE_FOLDER
    except ImportError:
        return None
    found = sorted(Path(BUNDLE_FOLDER).glob("pip-*.whl"))
    return found[-1] / "pip" if found else None


def _clean_environment(environ: Mapping[str, str], place: Path) -> dict[str, str]:
    """Make the environment of a build: what compilers need, and what makes the result the same every time."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    flags = f"-g0 -ffile-prefix-map={place}=/build"
    kept = {name: value for name, value in environ.items() if name in _PASSED_ON}
    for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        if environ.get("HOME") and (Path(environ["HOME"]) / folder).is_dir():
            kept.setdefault(name, str(Path(environ["HOME"]) / folder))
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **kept,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        # A backend's warnings would be raised again in this process, which prints nothing (pyproject_hooks 1.3).
        "PYTHONWARNINGS": "ignore",
        "SOURCE_DATE_EPOCH": EPOCH,
        "CFLAGS": f"{environ.get('CFLAGS', '')} {flags}".strip(),
        "CXXFLAGS": f"{environ.get('CXXFLAGS', '')} {flags}".strip(),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_NO_CACHE_DIR": "1",
    }


def _fetching_environment(sources: Sequence[SourceUrl], environ: Mapping[str, str]) -> dict[str, str]:
    """Add, for pip alone, the indexes with their logins, proxies and certificates."""
    added = {
        name: value
        for name, value in environ.items()
        if name.lower() in _FOR_FETCHING or name in {*CA_VARIABLES, "NETRC"}
    }
    if home := environ.get("HOME"):
        added.setdefault("NETRC", f"{home}/.netrc")
    urls = [_with_login(source) for source in sources]
    added["PIP_INDEX_URL"] = urls[0]
    if urls[1:]:
        added["PIP_EXTRA_INDEX_URL"] = " ".join(urls[1:])
    unverified = [urlsplit(source.url).netloc for source in sources if not source.verify]
    if unverified:
        added["PIP_TRUSTED_HOST"] = " ".join(unverified)
    certificates = next((environ[name] for name in CA_VARIABLES if environ.get(name)), "")
    if certificates:
        added.setdefault("PIP_CERT", certificates)
    return added


def _with_login(source: SourceUrl) -> str:
    if source.login is None:
        return source.url
    user, password = (quote(each.reveal(), safe="") for each in (source.login.user, source.login.password))
    return source.url.replace("://", f"://{user}:{password}@", 1)

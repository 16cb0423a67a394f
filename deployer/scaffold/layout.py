"""Plans the files to write: those of a new app, or those that an existing app lacks. It writes nothing."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from buildpack.app.detect import AppObject, detect_app
from buildpack.app.indexes import without_credentials
from buildpack.app.pipfile import read_pipfile
from buildpack.app.pipfile_lock import read_lock
from buildpack.app.settings import folder_name, name_of_folder
from buildpack.app.source import SourceTree, read_source
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError
from deployer.errors import files as errors
from deployer.scaffold import templates
from deployer.scaffold.entries import order_indexes
from deployer.scaffold.requirements import list_packages, missing_imports

Accept = Callable[[str, str], bool]
"""Decides if Pipfile gets a package; called with the place of an import and the package that has the module."""

LOCK = "Pipfile.lock"
_SIGNS = ("Pipfile", "Pipfile.lock", "Procfile", "requirements.txt", "pyproject.toml", "setup.py", "runtime.txt")
_BROUGHT = frozenset(
    ("flask", "gunicorn", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "blinker", "click", "packaging")
) | frozenset(("pytest", "pluggy", "iniconfig", "pygments", "pip", "setuptools", "pkg_resources", "wheel"))
"""Modules of packages that a new app depends on; a package with such a name would hide them."""
_TAKEN = frozenset(("src", "tests"))
"""Folders with another meaning in the layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files to write, by path and in order; none of them exists. pipenv makes the lock.

    `fresh` is true if the folder has no app, `locks` if it has no lock. `remarks` say what the author must decide.
    """

    fresh: bool
    files: Mapping[str, str]
    locks: bool
    remarks: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """All missing files, with the lock."""
        return [*self.files, *([LOCK] if self.locks else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Wishes of the command line: the package's name, a licence's text; `python` is the version for .python-version."""

    python: str
    host: bool
    package: str | None = None
    license_text: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def plan_layout(folder: Path, wishes: Wishes, *, accept: Accept = lambda _place, _package: True) -> Layout:
    """Plan the files for the app in `folder`, which need not exist. Raises UsageError for impossible names.

    `accept` decides if Pipfile gets a package that the app imports and no list of packages names.
    """
    tree = _read(folder, wishes.environ)
    fresh = tree is None or not _is_app(tree)
    remarks: list[str] = []
    files = _new(folder, wishes) if fresh or tree is None else _lacking(folder, tree, wishes, accept, remarks)
    if wishes.license_text is not None:
        files["LICENSE"] = wishes.license_text
    missing = {path: text for path, text in files.items() if not _exists(folder / path)}
    can_lock = "Pipfile" in missing or _exists(folder / "Pipfile")
    return Layout(fresh=fresh, files=missing, locks=can_lock and not _exists(folder / LOCK), remarks=tuple(remarks))


def _read(folder: Path, environ: Mapping[str, str]) -> SourceTree | None:
    if not os.path.exists(folder):
        return None
    return read_source(folder, environ=environ)


def _is_app(tree: SourceTree) -> bool:
    return any(file.path in _SIGNS or file.path.endswith(".py") for file in tree.files) or any(
        _exists(tree.folder / name) for name in _SIGNS
    )


def _exists(path: Path) -> bool:
    return os.path.exists(path) or os.path.islink(path)


def _new(folder: Path, wishes: Wishes) -> dict[str, str]:
    here = folder_name(folder)
    name = package_name(here, given=wishes.package)
    settings = templates.deploy_toml(name=None if name_of_folder(here) else name.strip("_"), host=wishes.host)
    return {
        **templates.package(name),
        "Pipfile": templates.pipfile({"flask": '"*"', "gunicorn": '"*"'}, {"pytest": '"*"'}),
        "Procfile": f"web: gunicorn {name}:APP\n",
        ".python-version": f"{wishes.python}\n",
        ".gitignore": templates.GITIGNORE,
        **({"deploy.toml": settings} if settings else {}),
    }


def _lacking(folder: Path, tree: SourceTree, wishes: Wishes, accept: Accept, remarks: list[str]) -> dict[str, str]:
    detection = detect_app(tree, name=folder_name(folder))
    found = detection.found
    files: dict[str, str] = {}
    if not _exists(folder / "Pipfile") and not _exists(folder / LOCK):
        files["Pipfile"] = _pipfile(tree, found, accept, remarks)
    else:
        remarks.extend(_lacking_imports(folder, tree))
    if found is not None:
        files["Procfile"] = f"web: {_serving(found)}\n"
        if not _has_tests(tree) and not found.search and not found.target.endswith("()"):
            files["tests/test_app.py"] = templates.simple_test(found.target)
    elif detection.choices and not _exists(folder / "Procfile"):
        targets = ", ".join(choice.target for choice in detection.choices)
        remarks.append(f"there are several app objects ({targets}), so you have to write Procfile.")
    elif not _exists(folder / "Procfile"):
        remarks.append("no app object was found, so you have to write Procfile: `web: gunicorn package:APP`.")
    if not _names_python(folder):
        files[".python-version"] = f"{wishes.python}\n"
    files[".gitignore"] = templates.GITIGNORE
    return files


def _serving(found: AppObject) -> str:
    """Return the command for a Procfile: gunicorn's without options, or uvicorn's with the port."""
    return found.command.partition(" --worker-tmp-dir")[0]


def _pipfile(tree: SourceTree, found: AppObject | None, accept: Accept, remarks: list[str]) -> str:
    listed = list_packages(tree)
    packages, files = listed.packages, " and ".join(listed.sources)
    remarks += [f"Pipfile leaves out {what}." for what in listed.unread]
    for file, left in listed.left.items():
        remarks.append(f"Pipfile leaves out of {file}: {without_credentials('; '.join(left))}.")
    named = any('index = "pypi"' in entry for entry in (*packages.values(), *listed.develop.values()))
    sources, more = order_indexes(listed.indexes, named=named)
    remarks += more
    for one, owners in missing_imports(tree, packages):
        if not owners:
            remarks.append(f"{one.place} imports {one.module}: add the package that has it to Pipfile.")
        elif not packages or not files:
            packages[owners[0]] = '"*"'
        elif accept(one.place, owners[0]):
            packages[owners[0]] = '"*"'
            remarks.append(f"Pipfile gets {owners[0]}, which {one.place} imports and {files} does not name.")
    server = "uvicorn" if found is not None and found.interface == "asgi" else "gunicorn"
    packages.setdefault(server, '"*"')
    return templates.pipfile(packages, {"pytest": '"*"', **listed.develop}, sources)


def _lacking_imports(folder: Path, tree: SourceTree) -> Iterator[str]:
    """Yield a remark for each import that Pipfile and its lock do not have; Pipfile does not change."""
    try:
        pipfile = read_pipfile(folder)
        lock = read_lock(folder, pipfile)
    except BuildpackError:
        return
    if lock is not None:
        names = [package.name for package in lock.packages]
    else:
        names = [wanted.name for wanted in pipfile.wanted("default")] if pipfile is not None else []
    for one, owners in missing_imports(tree, names):
        if owners:
            yield f"{one.place} imports {one.module}, which Pipfile does not have: run `deploy add {owners[0]}`."


def _has_tests(tree: SourceTree) -> bool:
    return any(file.path.startswith(("tests/", "test/")) or "test_" in file.path for file in tree.files)


def _names_python(folder: Path) -> bool:
    """Return True if a file names the Python version already."""
    if any(_exists(folder / name) for name in (".python-version", "runtime.txt")):
        return True
    try:
        pipfile = read_pipfile(folder)
        lock = read_lock(folder, pipfile)
    except BuildpackError:
        return True  # `deploy check` reports the error
    asked = pipfile.document.get("requires") if pipfile is not None else None
    return bool(asked) or (lock is not None and bool(lock.python_version or lock.python_full_version))


# Names


def package_name(folder: str, *, given: str | None = None) -> str:
    """Make a package's name from a folder's (``my-app`` gives ``my_app``), unless it is `given`; raises UsageError."""
    name = given if given is not None else re.sub(r"[-. ]+", "_", folder).strip("_").lower()
    if not (name.isascii() and name.isidentifier()):
        raise errors.no_package_name(given or folder, asked=given is not None)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise errors.package_name_taken(name, "is a keyword of Python")
    if name in sys.stdlib_module_names:
        raise errors.package_name_taken(name, "is a module of Python's standard library, which it would hide")
    if name in _BROUGHT:
        raise errors.package_name_taken(name, "is a package that the app depends on, which it would hide")
    if name in _TAKEN:
        raise errors.package_name_taken(name, "is a folder with a meaning of its own")
    return name


def author_name(folder: Path, environ: Mapping[str, str]) -> str:
    """Return the name that git is configured with for an existing folder; "the authors" if there is none."""
    from buildpack.app.git import ask, git_for

    if name := environ.get("GIT_AUTHOR_NAME"):
        return name
    git = git_for(str(folder), environ)
    if git is None:
        return "the authors"
    _, printed = ask(git, folder, ["config", "user.name"], environ).answer()
    return printed.decode(errors="replace").strip() or "the authors"

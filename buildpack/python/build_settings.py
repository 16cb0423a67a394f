"""The user's settings for builds of packages: variables, and constraints for the versions of their requirements.

Together with the sources they determine the wheel that is built, so they are part of the key under which it is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.lockfile import canonical_name
from buildpack.dataclass import dataclass, field
from buildpack.errors import DependencyError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from buildpack.app.lockfile import LockedPackage
    from buildpack.app.read import App

COMPILER_VARIABLES = frozenset(
    {"PATH", "TMPDIR", "CC", "CXX", "AR", "LD", "CPPFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH",
     "LIBRARY_PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "JAVA_HOME"}
)  # fmt: skip
"""The user's variables that every build gets, because compilers and related tools obey them."""
CONSTRAINT_VARIABLES = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")
_ROUNDS = 100_000
"""Rounds of the hash that represents variables of the command line in keys, which are public."""
_LARGEST = 1 << 20
_DEEPEST = 8
_COMMENT = re.compile(r"(?:^|\s)#.*")
_HASH = re.compile(r"\s--hash[= ]sha256:([0-9a-fA-F]{64})(?=\s|$)")
_NESTED = re.compile(r"(?:-c|--constraint)[= ]\s*(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A line of a constraints file: the versions that it allows and, if it has hashes, the files."""

    requirement: str
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """The settings of all builds: `variables`, of which `given` names those whose values must not be shown.

    `constraints` and `pins` are by canonical name; `pins` are the lock's packages, preferred if a build requires them.
    `problem` says why the constraints cannot be used; it is raised only if a package has to be built.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    given: frozenset[str] = frozenset()
    constraints: Mapping[str, tuple[Constraint, ...]] = field(default_factory=dict)
    pins: Mapping[str, LockedPackage] = field(default_factory=dict)
    problem: DependencyError | None = None

    @cached_property
    def key(self) -> str:
        """A hash of the variables and constraints, for keys; empty if there are none. Nobody can guess the values."""
        if not self.variables and not self.constraints and self.problem is None:
            return ""
        constraints = [*sorted(map(repr, self.constraints.items())), *([str(self.problem)] if self.problem else [])]
        text = json.dumps([sorted(self.variables.items()), constraints])
        hidden = hashlib.pbkdf2_hmac("sha256", text.encode(), b"deploy builds", _ROUNDS if self.given else 1)
        return hidden.hex()[:32]

    @cached_property
    def pins_key(self) -> str:
        """A hash of all pins, for facts about a lock that has a package that was built."""
        return self._hash_pins(self.pins)

    @property
    def secrets(self) -> Sequence[str]:
        """Return the values that must not be shown."""
        return [self.variables[name] for name in self.given if name in self.variables]

    def pinned(self, required: Iterable[str]) -> str:
        """Return the names of projects and a hash of their entries in the lock: ``NAME NAME pins:<hex>``."""
        names = sorted(required)
        return " ".join([*names, f"pins:{self._hash_pins(names)}"])

    def agrees(self, pinned: str) -> bool:
        """Return True if the lock's entries of these projects are the same as when `pinned` rendered them."""
        return pinned == self.pinned(names_in(pinned))

    def _hash_pins(self, names: Iterable[str]) -> str:
        found = ((name, self.pins.get(name)) for name in sorted(names))
        pins = [(name, pin and [pin.version, sorted(pin.hashes)]) for name, pin in found]
        return hashlib.sha256(repr(pins).encode()).hexdigest()[:32]


def names_in(pinned: str) -> list[str]:
    """Return the names of the projects in what `BuildSettings.pinned` rendered."""
    return pinned.split(" ")[:-1]


def read_settings(app: App, environ: Mapping[str, str]) -> BuildSettings:
    """Gather the settings of the app, of the command line and of pip's variables."""
    locked = (*app.lock.develop, *app.lock.packages)
    constraints: Mapping[str, tuple[Constraint, ...]] = {}
    problem = None
    try:
        constraints, _ = read_constraints(environ)
    except DependencyError as error:
        problem = error
    return BuildSettings(
        variables={**app.build_env, **app.given_env},
        given=frozenset(app.given_env),
        constraints=constraints,
        problem=problem,
        pins={package.name: package for package in locked if package.version and package.hashes},
    )


NO_SETTINGS = BuildSettings()


def read_constraints(environ: Mapping[str, str]) -> tuple[dict[str, tuple[Constraint, ...]], tuple[str, ...]]:
    """Read the files that pip's variables name, and return the constraints and the paths of all files read.

    Raises DependencyError if a file cannot be used.
    """
    found: dict[str, tuple[Constraint, ...]] = {}
    files: list[str] = []
    for variable in CONSTRAINT_VARIABLES:
        for name in environ.get(variable, "").split():
            for project, constraint in _read_file(name, variable, _DEEPEST, files):
                found[project] = (*found.get(project, ()), constraint)
    return found, tuple(files)


def _refused(variable: str, name: str, reason: str) -> Exception:
    from buildpack.errors.wheels import bad_constraints

    return bad_constraints(variable, name, reason)


def _read_file(name: str, variable: str, depth: int, files: list[str]) -> Iterator[tuple[str, Constraint]]:
    """Yield the constraints of a file and of those that it names, and add the paths of all to `files`."""
    if "://" in name:
        raise _refused(variable, name, "it is an address, and deploy reads only files of this machine")
    path = Path(name)
    try:
        if not path.is_file():
            raise _refused(variable, name, "there is no such file")
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(variable, name, str(getattr(error, "strerror", None) or error)) from None
    if len(text) > _LARGEST or not depth:
        raise _refused(variable, name, "it is larger than 1 MB, or includes itself")
    files.append(str(path))
    for line in text.replace("\\\n", " ").splitlines():
        wanted = _COMMENT.sub("", line).strip()
        if nested := _NESTED.fullmatch(wanted):
            yield from _read_file(str(path.parent / nested[1]), variable, depth - 1, files)
        elif wanted:
            requirement = _parse(_HASH.sub("", wanted), variable, name)
            hashes = tuple(sha256.lower() for sha256 in _HASH.findall(wanted))
            yield canonical_name(requirement.name), Constraint(requirement=str(requirement), hashes=hashes)


def _parse(text: str, variable: str, name: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise _refused(variable, name, f"{text!r} is not a requirement") from None
    if requirement.url:
        raise _refused(variable, name, f"{text!r} names an address, which is not supported")
    return requirement

"""Makes wheels from archives of sources, commits and local folders, by the package's own build (PEP 517).

Built wheels are remembered by the archive's hash, the commit or the folder's content. They are as reproducible as the
package's build: dates, hash seed, umask and paths in debug records are fixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from buildpack.app.links import OutsideError, find_inside
from buildpack.bounded import open_regular
from buildpack.dataclass import asdict, dataclass, replace
from buildpack.errors import python as index_errors
from buildpack.errors import wheels as errors
from buildpack.net.secret import Secret
from buildpack.python.build_failure import ALTERNATIVES, keep_log, missing_parts, remedies, telling_lines
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings, names_in
from buildpack.python.checkout import fetch_commit
from buildpack.python.credentials import open_address, redact, split_login
from buildpack.python.editable import is_app, link_app
from buildpack.python.fetch import fetch_file, probe_file
from buildpack.python.files import IndexFile, Sdist, WheelFile, store_file, stored_path
from buildpack.python.http import Client
from buildpack.python.index import Recall, Remember, is_of_another_version, nearest_wheel
from buildpack.python.isolation import (
    BuildFailedError,
    build_in_isolation,
    inspect,
    own_libc,
    reachable,
)
from buildpack.python.simple import is_plain
from buildpack.python.source_tree import MOST_BYTES, copy_sources, digest_sources, find_project, unpack
from buildpack.python.target import Target
from buildpack.python.wheel_choice import best_wheel, is_sdist, parse_wheel_name
from buildpack.system.temporary import make_folder
from buildpack.system.unprivileged import choose_user, give, open_left, workplace

if TYPE_CHECKING:
    from buildpack.app.lockfile import LockedPackage

FORMAT = 3
"""Goes into the keys of what is remembered: raise it when the same sources become another wheel."""

_SECRET = 6
"""Values of variables with fewer characters are shown: they are switches, and parts of ordinary words."""
_DEEPEST = 8
"""Builds that may wait for one another: a package whose build requires itself would never end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """The surroundings of builds.

    `python` returns the command of an interpreter of the target's version on this machine, or raises DependencyError
    that names the package; it is called only if a package has to be built. `folder` is the store's for wheels, `app`
    the app's, which will be at `place`. `depth` counts the builds that wait for this one.
    """

    target: Target
    python: Callable[[LockedPackage], tuple[str, ...]]
    client: Client
    folder: Path
    app: Path
    environ: Mapping[str, str]
    place: str = "/app"
    settings: BuildSettings = NO_SETTINGS
    recall: Recall = lambda _kind, _key: None
    remember: Remember = lambda _kind, _key, _value: None
    depth: int = 0


def build_wheel(package: LockedPackage, sdist: Sdist | None, *, bench: Workbench) -> WheelFile:
    """Make the wheel of a locked package: from `sdist`, else from the commit, path or file that the package names.

    Raises DependencyError that names what the build lacked and, if there is one, a wheel to use instead.
    """
    if sdist is not None:
        return _from_archive(package, sdist, bench)
    if package.git:
        what = f"commit {(package.ref or '')[:12]} of its repository"
        identity = ["git", split_login(package.git)[0], package.ref, package.subdirectory]
        return _remembered(package, what, identity, bench, lambda folder: fetch_commit(package, folder, bench.environ))
    if package.file:
        return _from_address(package, bench)
    return _from_path(package, bench)


def _from_archive(package: LockedPackage, sdist: Sdist, bench: Workbench) -> WheelFile:
    def prepare(folder: Path) -> None:
        unpack(fetch_file(sdist, bench.client, bench.folder), folder, package.name)

    return _remembered(package, sdist.filename, ["sdist", sdist.sha256, package.subdirectory], bench, prepare)


def _from_address(package: LockedPackage, bench: Workbench) -> WheelFile:
    """Fetch a file whose URL and hash are locked; a wheel is taken as it is, an archive is built."""
    written, _, _ = (package.file or "").partition("#")
    link, login = open_address(written, bench.environ, where=f"the address of {package.name}")
    shown = bench.client.hide(link, login)
    filename = unquote(shown.rpartition("/")[2])
    if not is_plain(filename):
        raise index_errors.refused(shown, "its last part is not a file name")
    key = json.dumps([FORMAT, shown, sorted(package.hashes)])
    found = bench.recall("address", key)
    if not found or not stored_path(bench.folder, _at_address(package, shown, filename, found)):
        locked = {"sha256": {each.partition(":")[2] for each in package.hashes}}
        offered = IndexFile(filename=filename, link=link, hashes={})
        found = probe_file(offered, bench.client, bench.folder, locked)
        if found is None:
            hashes = ", ".join(sorted(package.hashes))
            raise index_errors.wrong_hash(package.name, filename, shown, hashes, "another hash")
        bench.remember("address", key, list(found))
    sdist = _at_address(package, shown, filename, found)
    if is_sdist(filename):
        return _from_archive(package, sdist, bench)
    return _checked(package, WheelFile(**asdict(sdist)), bench)


def _at_address(package: LockedPackage, url: str, filename: str, found: Sequence[Any]) -> Sdist:
    sha256, size = found
    return Sdist(name=package.name, version=package.version or "", filename=filename, url=url, sha256=sha256, size=size)


def _from_path(package: LockedPackage, bench: Workbench) -> WheelFile:
    if is_app(package, bench.app):
        return link_app(package, app=bench.app, place=bench.place, folder=bench.folder)
    with _telling_path(package):
        find_inside(bench.app, package.path or "")
        path = bench.app / (package.path or "")
        if os.path.isfile(path):
            return _from_local_file(package, path, bench)
        if not os.path.isdir(path):
            raise errors.no_such_path(package.name, package.path or "", package.place)
        identity = ["path", digest_sources(path), package.subdirectory]

    def prepare(folder: Path) -> None:
        with _telling_path(package):
            copy_sources(path, folder)

    return _remembered(package, f"the folder {package.path}", identity, bench, prepare)


@contextmanager
def _telling_path(package: LockedPackage) -> Iterator[None]:
    """Explain the system's error about a local path, which may be unreadable or vanish while it is read."""
    try:
        yield
    except OutsideError as error:
        raise errors.path_outside(package.name, package.path or "", package.place, error.filename) from None
    except OSError as error:
        raise errors.path_unreadable(package.name, package.path or "", package.place, error) from None


def _from_local_file(package: LockedPackage, path: Path, bench: Workbench) -> WheelFile:
    from hashlib import file_digest

    if path.stat().st_size > MOST_BYTES:
        raise errors.project_too_large(str(path), MOST_BYTES, 1)
    with open_regular(path) as archive:
        sha256 = file_digest(archive, "sha256").hexdigest()
    if package.hashes and f"sha256:{sha256}" not in package.hashes:
        raise errors.another_file(package.name, path.name, package.path or "", package.place, sha256)
    if path.suffix == ".whl":
        with path.open("rb") as wheel:
            return _checked(package, _stored(package, path.name, wheel, bench.folder), bench)
    return _remembered(
        package, path.name, ["sdist", sha256, package.subdirectory], bench, lambda to: unpack(path, to, package.name)
    )


def _remembered(
    package: LockedPackage, what: str, identity: Sequence[Any], bench: Workbench, prepare: Callable[[Path], None]
) -> WheelFile:
    """Recall the wheel that was built from the same sources with the same settings, else build it.

    A wheel is kept with the projects that its build required and the lock's pin of each: another pin gives another
    wheel.
    """
    key = json.dumps([FORMAT, package.name, bench.target.key, *identity, *filter(None, [bench.settings.key])])
    known = WheelFile.parse(bench.recall("built", key))
    if known is not None and bench.settings.agrees(known.required) and stored_path(bench.folder, known):
        return known
    required: set[str] = set()
    wheel = _build(package, what, bench, prepare, required)
    wheel = replace(wheel, required=bench.settings.pinned(required))
    bench.remember("built", key, wheel.render())
    return wheel


def _build(
    package: LockedPackage, what: str, bench: Workbench, prepare: Callable[[Path], None], required: set[str]
) -> WheelFile:
    if bench.settings.problem is not None:
        raise bench.settings.problem
    user = choose_user()
    argv = reachable(package.name, bench.python(package), bench.folder.parent / "pythons", user)
    here = _interpreter(package, argv, bench)
    make_folder(bench.folder)

    def provide(wanted: Sequence[str]) -> list[Path]:
        wheels = _requirements(wanted, here, bench)
        required.update(name for wheel in wheels for name in (wheel.name, *names_in(wheel.required)))
        return [fetch_file(wheel, bench.client, bench.folder) for wheel in wheels]

    with workplace(bench.folder, user) as place:
        sources = place / "sources"
        make_folder(sources)
        prepare(sources)
        project = find_project(sources, package.subdirectory)
        if not (project / "pyproject.toml").resolve().is_relative_to(sources):
            raise errors.leading_out(package.name, package.version, what)
        give(sources, user)
        try:
            built = build_in_isolation(
                project,
                place,
                interpreter=argv[-1],
                version=here.version,
                environ=bench.environ,
                variables=bench.settings.variables,
                user=user,
                provide=provide,
            )
            with open_left(built) as left:
                stored = _stored(package, built.name, left, bench.folder)
        except errors.BuildFailed as failed:
            instead = _alternative(package, bench)
            raise errors.requirement_failed(package.name, package.version, what, failed, instead=instead) from None
        except (BuildFailedError, OSError) as error:
            failure = error if isinstance(error, BuildFailedError) else BuildFailedError(str(error))
            raise _explain(package, what, failure, bench) from None
        wheel = _checked(package, stored, bench)
    _check_libc(package, wheel, here, bench)
    return wheel


def _requirements(wanted: Sequence[str], here: Target, bench: Workbench) -> tuple[WheelFile, ...]:
    """Find the wheels that a build requires, for the interpreter that builds (`here`), and build those that lack one.

    The stack's interpreter may have another patch level.
    """
    if not wanted:
        return ()
    from buildpack.app.lockfile import LockedPackage
    from buildpack.python.requirements import resolve_requirements

    below = replace(bench, target=here, depth=bench.depth + 1)

    def build(archive: Sdist) -> WheelFile:
        if below.depth > _DEEPEST:
            raise BuildFailedError(
                f"the build of {archive.filename} requires itself, or a chain of more than {_DEEPEST} builds"
            )
        required = LockedPackage(name=archive.name, version=archive.version, hashes=(f"sha256:{archive.sha256}",))
        return build_wheel(required, archive, bench=below)

    return resolve_requirements(
        wanted, target=here, client=bench.client, folder=bench.folder, settings=bench.settings, build=build
    )


def _interpreter(package: LockedPackage, argv: tuple[str, ...], bench: Workbench) -> Target:
    here, target = inspect(argv, bench.environ), bench.target
    fits = here.machine == target.machine and here.libc[0] == target.libc[0]
    if not fits or here.version.split(".")[:2] != target.version.split(".")[:2]:
        raise errors.interpreter_differs(package.name, package.version, str(target), str(here))
    return here


def _check_libc(package: LockedPackage, wheel: WheelFile, here: Target, bench: Workbench) -> None:
    name = parse_wheel_name(wheel.filename)
    # The interpreter of an unpacked base has its own libc, but a compiler here links against this machine's.
    libc = max(here.libc, own_libc() or here.libc)
    if name is not None and name.platforms != ("any",) and libc[1:] > bench.target.libc[1:]:
        ours, theirs = (f"{kind} {major}.{minor}" for kind, major, minor in (libc, bench.target.libc))
        raise errors.newer_libc(package.name, package.version, ours, theirs)


def _stored(package: LockedPackage, filename: str, wheel: BinaryIO, folder: Path) -> WheelFile:
    """Copy a wheel into the store's folder and describe it. Raises OSError if its name is not one of a wheel."""
    name = parse_wheel_name(filename)
    if name is None or not is_plain(filename):
        raise OSError(f"{filename!r} is not the name of a wheel")
    sha256, size = store_file(wheel, filename, folder)
    return WheelFile(name=package.name, version=name.version, filename=filename, sha256=sha256, size=size)


def _checked(package: LockedPackage, wheel: WheelFile, bench: Workbench) -> WheelFile:
    name = parse_wheel_name(wheel.filename)
    offered = IndexFile(filename=wheel.filename, link="", hashes={})
    # A commit or a folder may give another version than the lock: its tags may be missing.
    released = not (package.git or package.path)
    other = name is None or name.name != package.name or (released and is_of_another_version(offered, package))
    if name is None or other or best_wheel([offered], bench.target) is None:
        raise errors.unexpected_wheel(package.name, package.version, wheel.filename, str(bench.target))
    return replace(wheel, version=name.version)


def _explain(package: LockedPackage, what: str, failure: BuildFailedError, bench: Workbench) -> Exception:
    release = f"{package.name}-{package.version or package.ref or 'local'}"
    given = [Secret(value) for value in bench.settings.secrets if len(value) >= _SECRET]
    output = redact(failure.output, [*bench.client.secrets, *given])
    return errors.build_failed(
        package.name,
        package.version,
        what,
        telling_lines(output),
        missing=missing_parts(output),
        instead=_alternative(package, bench),
        remedies=remedies(output, package.name),
        log=keep_log(release, output, bench.folder.parent / "logs"),
    )


def _alternative(package: LockedPackage, bench: Workbench) -> str | None:
    return ALTERNATIVES.get(package.name) or nearest_wheel(package, bench.client, bench.target)

"""Find the wheels of all packages of a lock, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from buildpack.errors import BuildpackError, together
from buildpack.errors import python as errors
from buildpack.python.files import WheelFile
from buildpack.python.index import Resolver, Unbuilt

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from buildpack.app.lockfile import LockedPackage

A = TypeVar("A")
B = TypeVar("B")

_CHANCE = 3
"""If more packages than this are unknown, and none is known, the index's address is wrong, not the packages."""


def resolve_wheels(
    packages: Sequence[LockedPackage],
    resolver: Resolver,
    *,
    resolved: Callable[[WheelFile], None] | None = None,
    jobs: int = 12,
) -> list[WheelFile]:
    """Find the wheel of each package, in the packages' order.

    `resolved` is called, from several threads, with each wheel as soon as it is known.
    Raises DependencyError, or Problems of several packages.
    """
    wheels: list[WheelFile | None] = [resolver.recalled(package) for package in packages]
    if resolved:
        for wheel in filter(None, wheels):
            resolved(wheel)
    unknown = [index for index, wheel in enumerate(wheels) if wheel is None]
    if unknown:
        found = _resolve_all([packages[index] for index in unknown], resolver, resolved, jobs)
        for index, wheel in zip(unknown, found, strict=True):
            wheels[index] = wheel
    return [wheel for wheel in wheels if wheel is not None]


def look_up(packages: Sequence[LockedPackage], resolver: Resolver, *, jobs: int = 12) -> None:
    """Find a file for each package, without building any; raises as `resolve_wheels` does.

    A file is fetched only if no page says its hash: nothing else shows that it is the locked one.
    """
    unknown = [package for package in packages if resolver.recalled(package) is None]
    if unknown:
        with _pool(jobs, unknown) as pool:
            _find_all(pool, unknown, resolver, resolver.find)


@contextmanager
def _pool(jobs: int, packages: Sequence[LockedPackage]) -> Iterator[Executor]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(jobs, len(packages)), thread_name_prefix="resolve")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _resolve_all(
    packages: Sequence[LockedPackage], resolver: Resolver, resolved: Callable[[WheelFile], None] | None, jobs: int
) -> list[WheelFile]:
    """Find the files of all packages, and only then build: a build takes long and may be in vain."""

    def find(package: LockedPackage) -> WheelFile | Unbuilt:
        found = resolver.find(package)
        if resolved and isinstance(found, WheelFile):
            resolved(found)
        return found

    def make(found: WheelFile | Unbuilt) -> WheelFile:
        if isinstance(found, WheelFile):
            return found
        wheel = resolver.make(found)
        if resolved:
            resolved(wheel)
        return wheel

    with _pool(jobs, packages) as pool:
        return _sound(_at_once(pool, make, _find_all(pool, packages, resolver, find)))


def _find_all(
    pool: Executor,
    packages: Sequence[LockedPackage],
    resolver: Resolver,
    find: Callable[[LockedPackage], WheelFile | Unbuilt],
) -> list[WheelFile | Unbuilt]:
    """Call `find` for all packages at once; raises all problems together."""
    found = _at_once(pool, find, packages)
    problems = [each for each in found if isinstance(each, BuildpackError)]
    if len(problems) > _CHANCE and all(isinstance(each, errors.UnknownProject) for each in found):
        raise errors.knows_nothing(
            sorted(package.name for package in packages), [each.url for each in resolver.client.sources]
        )
    return _sound(found)


def _at_once(pool: Executor, work: Callable[[A], B], items: Iterable[A]) -> list[B | BuildpackError]:
    """Do the work for each item; return results and errors. Raises an error of a server at once: it meets all items."""
    from concurrent.futures import FIRST_EXCEPTION, wait

    failed: list[errors.SourceError] = []

    def attempt(item: A) -> B | BuildpackError:
        if failed:
            raise failed[0]
        try:
            return work(item)
        except errors.SourceError as error:
            failed.append(error)  # later items would wait for the same server
            raise
        except BuildpackError as error:
            return error

    futures = [pool.submit(attempt, item) for item in items]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        if future.done() and (error := future.exception()):
            raise error
    return [future.result() for future in futures]


def _sound(results: Sequence[B | BuildpackError]) -> list[B]:
    """Return the results; raises the error among them, or Problems of several."""
    problems = [result for result in results if isinstance(result, BuildpackError)]
    if problems:
        raise together(problems)
    return [result for result in results if not isinstance(result, BuildpackError)]

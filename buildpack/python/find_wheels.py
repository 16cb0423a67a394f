"""Find the wheels of all packages of a lock, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from buildpack.errors import BuildpackError, Problems, together
from buildpack.errors import python as errors
from buildpack.python.files import WheelFile
from buildpack.python.index import Resolver, Unbuilt

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from buildpack.app.lockfile import LockedPackage

A = TypeVar("A")
B = TypeVar("B")

JOBS = 12
"""Packages that are looked up at a time."""
_CHANCE = 3
"""If more packages than this are unknown, and none is known, the index's address is wrong, not the packages."""


def resolve_wheels(packages: Sequence[LockedPackage], resolver: Resolver) -> list[WheelFile]:
    """Find the wheel of each package, in the packages' order. Raises DependencyError, or Problems of several packages.

    Packages are built only after the files of all others are found: a build takes long and may be in vain.
    """
    recalled = [resolver.recalled(package) for package in packages]
    unknown = [package for package, wheel in zip(packages, recalled, strict=True) if wheel is None]
    if not unknown:
        return [wheel for wheel in recalled if wheel is not None]
    with _pool(unknown) as pool:
        made = iter(_at_once(pool, resolver.make, _find_all(pool, unknown, resolver)))
    return [wheel or next(made) for wheel in recalled]


def look_up(packages: Sequence[LockedPackage], resolver: Resolver) -> None:
    """Find a file for each package, without building any; raises as `resolve_wheels` does.

    A file is fetched only if no page says its hash: nothing else shows that it is the locked one.
    """
    unknown = [package for package in packages if resolver.recalled(package) is None]
    if unknown:
        with _pool(unknown) as pool:
            _find_all(pool, unknown, resolver)


@contextmanager
def _pool(packages: Sequence[LockedPackage]) -> Iterator[Executor]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(JOBS, len(packages)), thread_name_prefix="resolve")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _find_all(pool: Executor, packages: Sequence[LockedPackage], resolver: Resolver) -> list[WheelFile | Unbuilt]:
    try:
        return _at_once(pool, resolver.find, packages)
    except Problems as error:
        unknown = [each for each in error.problems if isinstance(each, errors.UnknownProject)]
        if len(unknown) == len(packages) > _CHANCE:
            names, urls = sorted(package.name for package in packages), [each.url for each in resolver.client.sources]
            raise errors.knows_nothing(names, urls) from None
        raise


def _at_once(pool: Executor, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Do the work for each item; raises an error of a server at once, since it meets all items, and others together."""
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
    results = [future.result() for future in futures]
    problems = [result for result in results if isinstance(result, BuildpackError)]
    if problems:
        raise together(problems)
    return [result for result in results if not isinstance(result, BuildpackError)]

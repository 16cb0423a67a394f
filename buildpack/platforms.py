"""One app for several platforms: an image for each, and an index that names them all.

The images are built one after the other on one store, so what is the same on two platforms is fetched, compiled and
compressed once. No name means anything new before all of them are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.build import Built, Listener, build
from buildpack.dataclass import dataclass, replace
from buildpack.errors import AppError, BuildpackError, LostError, Problems, UsageError
from buildpack.errors import build as errors
from buildpack.oci.image import Layer, Platform
from buildpack.oci.index import ImageIndex, assemble_index
from buildpack.oci.store import Store
from buildpack.options import Launcher, Options, OwnPython
from buildpack.progress import Observer, ignore

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIndex:
    """What was built: the index, and each platform's own outcome, in the index's order."""

    index: ImageIndex
    platforms: tuple[Built, ...]
    references: tuple[str, ...]
    seconds: float
    unchanged: bool

    @property
    def kept(self) -> bool:
        """Whether the store has all of it, and knows it by its references; else some layers are in a registry only."""
        return not any(built.elsewhere for built in self.platforms)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that is to be said, each once; what concerns some platforms only begins with their names."""
        told: dict[str, list[str]] = {}
        for built in self.platforms:
            for text in built.warnings:
                told.setdefault(text, []).append(str(built.stack.platform))
        everywhere = len(self.platforms)
        return tuple(
            text if len(names) == everywhere else f"{', '.join(names)}: {text}" for text, names in told.items()
        )


class _Possible(Exception):
    """A platform's image has all that it needs, and nothing of it was made yet."""


class _Stopping(Listener):
    """Ends a build before it runs hooks and writes layers: what one platform lacks is said before another is built."""

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        raise _Possible


@contextmanager
def _naming(platform: Platform) -> Iterator[None]:
    """Name the platform in errors, but for those about the folder or the command line, which concern all of them.

    What was lost stays what it is, since whoever builds tries that again.
    """
    try:
        yield
    except (AppError, UsageError, LostError):
        raise
    except BuildpackError as error:
        if isinstance(error, Problems) and all(isinstance(problem, AppError) for problem in error.problems):
            raise
        raise errors.for_platform(str(platform), error) from error


def build_platforms(
    folder: Path,
    *,
    platforms: Sequence[Platform],
    options: Options,
    launcher: Launcher,
    store: Store,
    environ: Mapping[str, str],
    own_python: OwnPython,
    today: date,
    observer: Observer = ignore,
    listeners: Mapping[Platform, Listener] | None = None,
    transport: Transport | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> BuiltIndex:
    """Build the app for each platform, and give `options.references` to the index of the images.

    `listeners` hear of their platform's image; the rest is as for `build`. Raises BuildpackError, which names the
    platform it is about.
    """
    begin = clock()

    def build_one(platform: Platform, listener: Listener | None) -> Built:
        with _naming(platform):
            return build(
                folder,
                options=replace(options, platform=str(platform)),
                launcher=launcher,
                store=store,
                environ=environ,
                own_python=own_python,
                today=today,
                observer=observer,
                listener=listener,
                transport=transport,
                named=False,
            )

    for platform in platforms[1:]:
        with suppress(_Possible):
            build_one(platform, _Stopping())
    built = [build_one(platform, (listeners or {}).get(platform)) for platform in platforms]
    index = assemble_index(one.image for one in built)
    if any(one.elsewhere for one in built):
        changed = not all(one.unchanged for one in built)
    else:
        changed = store.put_image(index, built[0].references)
    order = {image.digest: position for position, image in enumerate(index.images)}
    return BuiltIndex(
        index=index,
        platforms=tuple(sorted(built, key=lambda one: order[one.image.digest])),
        references=built[0].references,
        seconds=clock() - begin,
        unchanged=not changed,
    )

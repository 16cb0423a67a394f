"""One app for several platforms: an image for each, and an index that names them all.

The images are planned and then built one after the other on one store, so what is the same on two platforms is fetched,
compiled and compressed once. No name means anything new before all of them are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from buildpack.build import Built, Planned, make_image, plan_image
from buildpack.dataclass import dataclass, replace
from buildpack.errors import AppError, BuildpackError, LostError, Problems, UsageError
from buildpack.errors import build as errors
from buildpack.oci.image import Platform
from buildpack.oci.index import ImageIndex, assemble_index
from buildpack.options import Launcher, Options
from buildpack.session import SILENT, Listener, Session


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
    session: Session,
    listeners: Mapping[Platform, Listener] | None = None,
) -> BuiltIndex:
    """Build the app for each platform, and give `options.references` to the index of the images.

    All images are planned before the first is made, so that what one platform lacks is known before another is built.
    `listeners` hear of their platform's image. Raises BuildpackError, which names the platform it is about.
    """
    begin = time.perf_counter()
    planned: dict[Platform, Planned] = {}
    built: list[Built] = []
    with ExitStack() as exits:
        for platform in platforms:
            with _naming(platform):
                chosen = replace(options, platform=str(platform))
                planned[platform] = plan_image(folder, exits, options=chosen, launcher=launcher, session=session)
        for platform, each in planned.items():
            with _naming(platform):
                built.append(make_image(each.refreshed(), (listeners or {}).get(platform, SILENT), named=False))
    index = assemble_index(one.image for one in built)
    if any(one.elsewhere for one in built):
        changed = not all(one.unchanged for one in built)
    else:
        changed = session.store.put_image(index, built[0].references)
    order = {image.digest: position for position, image in enumerate(index.images)}
    return BuiltIndex(
        index=index,
        platforms=tuple(sorted(built, key=lambda one: order[one.image.digest])),
        references=built[0].references,
        seconds=time.perf_counter() - begin,
        unchanged=not changed,
    )

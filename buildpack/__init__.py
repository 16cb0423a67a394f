"""App's folder in, container image out: the library of `deploy`. It prints nothing.

    import buildpack

    built = buildpack.build("shop", to=["docker"])

`docs/library.md` has a worked example. Importing this package is cheap: each function imports the modules that it
needs. Every error is a `buildpack.errors.BuildpackError`, with `what` happened, `why`, and a `hint`; its subclasses
tell a wrong option (`UsageError`) from a mistake in the app (`AppError`), a package (`DependencyError`), a stack or
registry (`StackError`), an engine (`EngineError`) and this machine (`MachineError`).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from buildpack.app.read import App
    from buildpack.oci.compare import Comparison
    from buildpack.oci.image import Image
    from buildpack.options import Destination, Options
    from buildpack.plan import Plan
    from buildpack.progress import Progress
    from buildpack.session import Session
    from buildpack.steps.built import Built


def build(
    folder: str | PathLike[str],
    *,
    to: Sequence[str | Destination] = (),
    options: Options | None = None,
    session: Session | None = None,
) -> Built:
    """Build the app in `folder` into the session's store, and deliver the image to each destination of `to`.

    A destination is ``docker``, ``registry``, ``oci:DIR`` or ``archive:FILE``, as `deploy build --to` takes it, or a
    `Destination`. The image has the same digest as the one that `deploy build` makes. `options.platform` may name
    several platforms (``linux/amd64,linux/arm64``): then `Built.image` is their index. The default `session` is
    `open_session()`.

    Raises UsageError for a destination, a name or an option that is not valid; AppError, DependencyError, StackError,
    EngineError or MachineError if a step fails; and Problems, which lists several errors that were found together.
    """
    from contextlib import nullcontext
    from pathlib import Path

    from buildpack.dataclass import replace
    from buildpack.delivery.deliver import build_and_deliver, fit_options, parse_destinations
    from buildpack.delivery.pushing import connect
    from buildpack.options import Options
    from buildpack.stacks.platforms import read_platforms

    destinations = parse_destinations(list(map(str, to)))
    options = fit_options(options or Options(), destinations)
    session = session or open_session()
    connected = session.transport is not None or not (options.pushed or options.cache_from)
    with (
        nullcontext(session.transport)
        if connected
        else connect(options.references, options.cache_from, session.environ, pushed=options.pushed)
    ) as transport:
        return build_and_deliver(
            Path(folder),
            options=options,
            session=replace(session, transport=transport),
            platforms=read_platforms(Path(folder), environ=session.environ, flag=options.platform),
            destinations=destinations,
        )


def read_app(folder: str | PathLike[str], *, options: Options | None = None, session: Session | None = None) -> App:
    """Read the app in `folder`: its settings, process types, lock, Python, files, and warnings about them.

    Nothing is fetched, and none of the app's code runs. Raises UsageError if `folder` is not a folder, AppError or
    MachineError for a mistake in it, or Problems with every mistake.
    """
    from pathlib import Path

    from buildpack import pipeline
    from buildpack.options import Options

    return pipeline.read_folder(Path(folder), options or Options(), session or open_session())


def plan_images(
    folder: str | PathLike[str], *, options: Options | None = None, session: Session | None = None
) -> tuple[Plan, ...]:
    """Plan the image of the app in `folder` for each of its platforms: its layers, their keys, and its config.

    No layer is written. Wheels that no earlier build looked into are fetched, and packages without a wheel are built.
    Two plans with equal keys make equal layers. Raises as `build` does.
    """
    from contextlib import ExitStack
    from pathlib import Path

    from buildpack import pipeline
    from buildpack.options import Options
    from buildpack.stacks.platforms import read_platforms

    options, session = options or Options(), session or open_session()
    platforms = read_platforms(Path(folder), environ=session.environ, flag=options.platform)
    with ExitStack() as exits:
        planned = pipeline.plan_images(Path(folder), exits, options=options, session=session, platforms=platforms)
        return tuple(each.decision.plan for each in planned)


def compare(image: Image, other: Image, *, session: Session | None = None) -> Comparison:
    """Compare two images down to their files; the session's store has their layers.

    A difference with `only` is in one image: ``image`` is the first one, ``rebuilt`` the other. Raises LostError if the
    store lacks a layer that differs, or if that layer is damaged.
    """
    from buildpack.oci.compare import compare_images

    store = (session or open_session()).store
    return compare_images(
        image,
        other,
        open_image=lambda layer: store.open(layer.digest),
        open_rebuilt=lambda layer: store.open(layer.digest),
    )


def open_session(
    home: str | PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    observer: Callable[[Progress], None] | None = None,
) -> Session:
    """Return the surroundings of builds: the store in the folder `home`, and variables such as ``PIP_INDEX_URL``.

    The defaults are the store of `deploy` (``DEPLOY_HOME``) and this process's variables. `observer` is called with the
    progress, from several threads. Raises MachineError if no folder for the store can be written.
    """
    import os
    from pathlib import Path
    from warnings import warn

    from buildpack import session
    from buildpack.oci.store import Store
    from buildpack.progress import ignore

    environ = os.environ if environ is None else environ
    store = Store(Path(home)) if home is not None else session.open_store(environ, warn=warn)
    return session.open_session(store, environ, observer=observer or ignore)

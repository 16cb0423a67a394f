"""Builds an app and sends the image to its destinations: what `build`, `run`, `ci` and `verify` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from buildpack.build import build
from buildpack.dataclass import replace
from buildpack.errors import LostError
from buildpack.errors.registry import BlobVanished
from buildpack.oci.image import Platform
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.session import Session
from deployer.building.destinations import Delivery, Destination, deliver, platform_of_engine, shipped_next
from deployer.building.launcher import read_launcher
from deployer.building.made import Made, made_of
from deployer.errors.building import made_again, others_made_again
from deployer.interrupts import ending_promptly

if TYPE_CHECKING:
    from buildpack.oci.warm_up import HeadStart

_T = TypeVar("_T")
_ALONE: Mapping[str, Any] = {"pushed": False, "cache_from": ()}


def build_and_deliver(
    app: Path,
    *,
    options: Options,
    session: Session,
    platforms: Sequence[Platform] = (),
    destinations: Sequence[Destination] = (),
    head_start: HeadStart | None = None,
    meanwhile: Callable[[Made], object] = lambda _made: None,
) -> tuple[Made, list[str]]:
    """Build the app in this folder; return what was made, and what was sent to each destination, in words.

    Of several platforms an index is made, and an engine gets the image of its own platform. `head_start` is connected
    to the engine that is among the destinations; `meanwhile` is called while that is at work. A registry can be among
    the destinations only if the session has a transport. What turns out damaged in the store, or gone from a registry,
    is made again, once.
    """
    for_engine = any(destination.kind == "docker" for destination in destinations)
    chosen = platform_of_engine(platforms, session.environ) if for_engine and len(platforms) > 1 else None

    def attempt(options: Options) -> tuple[Made, list[str]]:
        with Delivery(destinations, session, head_start, gone=options.gone) as delivery:
            made = _build(app, platforms, options=options, session=session, delivery=delivery, chosen=chosen)
            said = deliver(delivery, made, meanwhile=meanwhile)
            return made.warning(shipped_next(destinations, app, session.environ)), said

    with ending_promptly():
        (made, said), told = until_whole(attempt, options, session.store)
        return made.warning(told), said


def _build(
    app: Path,
    platforms: Sequence[Platform],
    *,
    options: Options,
    session: Session,
    delivery: Delivery,
    chosen: Platform | None,
) -> Made:
    launcher = read_launcher()
    if len(platforms) < 2:
        return made_of(build(app, options=options, launcher=launcher, session=session, listener=delivery))
    from buildpack.platforms import build_platforms

    built = build_platforms(
        app,
        platforms=platforms,
        options=options,
        launcher=launcher,
        session=session,
        listeners={chosen: delivery} if chosen else None,
    )
    return Made(
        image=built.index,
        images=built.platforms,
        warnings=built.warnings,
        seconds=built.seconds,
        unchanged=built.unchanged,
    )


def until_whole(attempt: Callable[[Options], _T], options: Options, store: Store) -> tuple[_T, tuple[str, ...]]:
    """Call `attempt` until nothing that it needs is damaged in the store, or gone from a registry.

    Return what it returns, and warnings. The first damage has every blob of the store verified, so that one more
    attempt makes all of them again. Raises what `attempt` raises, LostError only if the same thing is lost twice.
    """
    told: dict[str, str] = {}
    vanished_once = False
    while True:
        try:
            return attempt(options), tuple(told.values())
        except BlobVanished as vanished:
            if vanished_once:
                raise
            vanished_once = True
            # A registry may not say which blobs it lacks. Then nothing is taken from it.
            lacking = {"gone": frozenset(map(str, vanished.digests))} if vanished.digests else _ALONE
            options = replace(options, **lacking)
        except LostError as lost:
            if lost.what in told:
                raise
            others = () if told else store.drop_damaged()
            told[lost.what] = made_again(lost.what)
            if others:
                told |= {"others": others_made_again(len(others))}

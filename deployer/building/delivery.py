"""Builds an app and sends the image where it is wanted: what `build`, `run` and whatever needs an image share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from buildpack.build import Built, build
from buildpack.dataclass import replace
from buildpack.errors import LostError
from buildpack.errors.registry import BlobVanished
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.progress import Observer
from deployer.building.destinations import Delivery, Destination, deliver, shipped_next
from deployer.building.launcher import read_launcher
from deployer.errors.commands import made_anew, others_made_anew
from deployer.interrupts import ending_promptly
from deployer.session import open_session

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport
    from buildpack.oci.warm_up import HeadStart

_T = TypeVar("_T")
_ALONE: Mapping[str, Any] = {"pushed": False, "cache_from": ()}


def build_and_deliver(
    app: Path,
    *,
    options: Options,
    destinations: Sequence[Destination],
    store: Store,
    environ: Mapping[str, str],
    observer: Observer,
    head_start: HeadStart | None = None,
    meanwhile: Callable[[Built], object] = lambda _built: None,
    transport: Transport | None = None,
) -> tuple[Built, list[str]]:
    """Build the app in this folder; returns the image, and what was sent to each destination, in words.

    `head_start` has met the engine that is among the destinations; `meanwhile` is called while that is at work.
    Registries are spoken to through `transport`, without which there can be none among the destinations. What turns out
    damaged in the store, or gone from a registry, is made anew, once.
    """
    session = open_session(store, environ, observer=observer, transport=transport)

    def attempt(options: Options) -> tuple[Built, list[str]]:
        delivery = Delivery(destinations, store, environ, observer, head_start, transport=transport, gone=options.gone)
        with delivery:
            built = build(app, options=options, launcher=read_launcher(), session=session, listener=delivery)
            said = deliver(delivery, built, meanwhile=meanwhile)
            told = shipped_next(destinations, app, environ)
            return (replace(built, warnings=(*built.warnings, *told)) if told else built), said

    with ending_promptly():
        (built, said), told = until_whole(attempt, options, store)
        return (replace(built, warnings=(*built.warnings, *told)) if told else built), said


def until_whole(attempt: Callable[[Options], _T], options: Options, store: Store) -> tuple[_T, tuple[str, ...]]:
    """Call `attempt` until nothing that it needs is damaged in the store, or gone from a registry.

    Returns what it returns, and warnings. The first damage has every blob of the store verified, so that one more
    attempt heals all of them. Raises what `attempt` raises, LostError only if the same thing is lost twice.
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
            # A registry may not say which blobs it lacks: then nothing of it is of use.
            lacking = {"gone": frozenset(map(str, vanished.digests))} if vanished.digests else _ALONE
            options = replace(options, **lacking)
        except LostError as lost:
            if lost.what in told:
                raise
            others = () if told else store.drop_damaged()
            told[lost.what] = made_anew(lost.what)
            if others:
                told |= {"others": others_made_anew(len(others))}

"""`deploy build`: builds a container image from an app's folder."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options
from deployer.cli.messages import print_warning
from deployer.cli.summary import moved, report, show_answer, unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildpack.oci.transport import Traffic, Transport
    from buildpack.oci.warm_up import WarmUp
    from buildpack.steps.built import Built
    from deployer.building.record import Answer, Asked

EXAMPLES = """\b
Examples:
  deploy build                                  build the current folder
  deploy build blasto -t blasto:1 --to docker   and load it into Docker
"""


@click.command("build", cls=options.Command, epilog=EXAMPLES)
@options.app
@options.tag
@options.stack
@options.platforms
@options.destinations
@options.cache_from
@options.build_env
@options.build_env_file
@options.option("--sbom", is_flag=True, help="Attach a bill of materials to the pushed image.")
@options.image_format
@options.label
@options.category
@options.strict
@options.option("--pull", is_flag=True, heading=options.BUILD, help="Look up the stack's tag in its registry again.")
@options.no_cache
@options.as_json
@options.quiet
@options.option(
    "-v",
    "--verbose",
    is_flag=True,
    heading=options.OUTPUT,
    help="List every layer, and show all output of a failed package build.",
)
@click.pass_context
def command(ctx: click.Context, /, app: Path, **given: Any) -> int:
    """Build a container image from an app's folder, without a container engine.

    APP is the folder (default: the current one). The image is written to the store, and its digest is the last line of
    standard output. Layers that did not change are neither built nor sent again.
    """
    destinations, pushed = given["destinations"], "registry" in given["destinations"]
    if given["sbom"] and not pushed:
        raise click.UsageError(
            "--sbom is for images that are pushed\n\nhint: add --to registry, or use `deploy inspect REF --sbom`."
        )
    # A record does not include the files of `--env-file`.
    asked: Asked | None = None if given["no_cache"] or given["pull"] or given["build_env_files"] else ctx.obj
    changed = asked is None or not asked.unchanged
    with (
        _warm_up(wanted="docker" in destinations and changed) as warm_up,
        _registries(given["references"], given["cache_from"], pushed=pushed) as transport,
    ):
        return _build(app, given, asked, warm_up, transport)


def _build(
    app: Path,
    given: Mapping[str, Any],
    asked: Asked | None,
    warm_up: WarmUp | None,
    transport: Transport | None,
) -> int:
    from buildpack.delivery.deliver import build_and_deliver, fit_options, parse_destinations
    from buildpack.session import open_session, open_store
    from buildpack.stacks.platforms import read_platforms
    from deployer.cli.progress import Reporter
    from deployer.interrupts import ending_promptly
    from deployer.text import sent_texts

    targets = parse_destinations(given["destinations"])
    asked_for = fit_options(options.read_options(given, app), targets)
    store = open_store(os.environ, warn=print_warning)
    platforms = read_platforms(app, environ=os.environ, flag=given["platform"])
    style = next((name for name in ("json", "quiet", "verbose") if given[_STYLES[name]]), "plain")
    answer = partial(
        answer_of,
        app=str(app),
        style=style,
        loaded=len(platforms) < 2 and any(target.kind == "docker" for target in targets),
        special=len(platforms) > 1 or any(given[name] for name in _SPECIAL),
    )
    # An engine with one image can say if it still has it. Other destinations are not asked.
    engine_only = len(platforms) < 2 and [target.kind for target in targets] == ["docker"]

    def remember(made: Built, sent: Sequence[str], *, loaded: bool = False) -> None:
        if asked is not None and not asked.unchanged:
            from deployer.building.recording import write_record

            again = unchanged(answer(made, sent)) if loaded or not targets else None
            write_record(asked, made, again, store=store, environ=os.environ, now=time.time(), loaded=loaded)

    def remember_loaded(made: Built) -> None:
        """Write the record while the engine is at work."""
        from buildpack.oci.engine_upload import PRESENT
        from deployer.text import loaded_text

        remember(made, [loaded_text(0, 0, PRESENT)], loaded=engine_only)

    with Reporter(quiet=style in {"json", "quiet"}) as reporter, ending_promptly():
        made = build_and_deliver(
            app,
            options=asked_for,
            session=open_session(store, os.environ, observer=reporter, transport=transport),
            platforms=platforms,
            destinations=targets,
            warm_up=warm_up,
            meanwhile=remember_loaded,
        )
    sent = [*sent_texts(made), *([_attach_sbom(made, transport)] if given["sbom"] and transport else [])]
    show_answer(answer(made, sent, transport.traffic if transport else None))
    if not targets:
        remember(made, [])
    return 0


def _attach_sbom(made: Built, transport: Transport) -> str:
    from buildpack.delivery.pushing import parse_targets
    from deployer.proof.attaching import attached_text

    return attached_text(made.image, parse_targets(made.references), transport=transport)


_STYLES = {"json": "as_json", "quiet": "quiet", "verbose": "verbose"}
_SPECIAL = (*("references", "stack", "platform", "labels", "build_env", "build_env_files", "categories", "cache_from"),)
"""Options with which a build results in another image, or another name, than a build of the folder alone."""


def _warm_up(*, wanted: bool) -> AbstractContextManager[WarmUp | None]:
    if not wanted:
        return nullcontext()
    # It is imported first, because two threads that import at once wait for each other at each file.
    from buildpack.oci.warm_up import WarmUp

    return WarmUp(os.environ)


def _registries(
    references: Sequence[str], cache_from: Sequence[str], *, pushed: bool
) -> AbstractContextManager[Transport | None]:
    if not (pushed or cache_from):
        return nullcontext()
    from buildpack.delivery.pushing import connect

    return connect(references, cache_from, os.environ, pushed=pushed)


def answer_of(
    made: Built,
    sent: Sequence[str],
    traffic: Traffic | None = None,
    *,
    app: str,
    style: str,
    loaded: bool,
    special: bool,
) -> Answer:
    """Return the outcome as `summary` shows it; the parameters are as in `Answer`."""
    return {
        "report": {**report(made), **(moved(traffic) if traffic else {})},
        "kept": made.kept,
        "slots": [[each.planned.slot for each, _ in one.layers] for one in made.images],
        "unchanged": made.unchanged,
        "app": app,
        "style": style,
        "sent": list(sent),
        "loaded": loaded,
        "special": special,
    }

"""`deploy build`: a container image from an app's folder."""

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
from deployer.cli.report import moved, report
from deployer.cli.summary import show_answer, unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildpack.build import Built
    from buildpack.oci.image import Format
    from buildpack.oci.store import Store
    from buildpack.oci.transport import Traffic, Transport
    from buildpack.oci.warm_up import HeadStart
    from deployer.building.record import Asked

EXAMPLES = """\b
Examples:
  deploy build                                 this folder, into the store
  deploy build blasto -t blasto:1 --to docker  into the engine too
"""


@click.command("build", epilog=EXAMPLES)
@options.app
@options.tag
@options.stack
@options.platforms
@options.destinations
@options.cache_from
@options.build_env
@options.build_env_file
@click.option("--sbom", is_flag=True, help="Attach a bill of materials to what goes to a registry.")
@options.image_format
@options.label
@options.category
@options.strict
@click.option("--pull", is_flag=True, help="Look the stack's tag up again.")
@options.no_cache
@options.as_json
@options.quiet
@click.option("-v", "--verbose", is_flag=True, help="List every layer, and show all output of a failed package build.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    app: Path,
    references: tuple[str, ...],
    stack: str | None,
    platform: str | None,
    destinations: tuple[str, ...],
    cache_from: tuple[str, ...],
    build_env: tuple[str, ...],
    build_env_files: tuple[str, ...],
    sbom: bool,
    format_: Format | None,
    labels: tuple[str, ...],
    categories: tuple[str, ...],
    strict: bool,
    pull: bool,
    no_cache: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Build a container image from Pipfile.lock and Procfile, without a daemon.

    The image lands in the store; the last line of standard output is its digest.
    """
    if sbom and "registry" not in destinations:
        told = "--sbom attaches to what is pushed\n\nhint: add --to registry, or use `deploy inspect REF --sbom`."
        raise click.UsageError(told)
    # A record does not know the files of `--build-env-file`.
    asked: Asked | None = None if no_cache or pull or build_env_files else ctx.obj
    changed = asked is None or not asked.unchanged
    with (
        _head_start(wanted="docker" in destinations and changed) as head_start,
        _registries(references, cache_from, pushed="registry" in destinations) as transport,
    ):
        from buildpack.oci.store import Store, find_store
        from buildpack.options import Options
        from buildpack.progress import ignore
        from buildpack.stacks.platforms import read_platforms
        from deployer.building.delivery import build_and_deliver
        from deployer.building.destinations import loaded_text, parse_destinations
        from deployer.cli.progress import Reporter
        from deployer.settings.config import parse_build_env, parse_epoch, parse_labels

        targets = parse_destinations(destinations)
        options = Options(
            references=references,
            stack=stack,
            platform=platform,
            no_cache=no_cache,
            pull=pull,
            labels=parse_labels(labels),
            build_env=parse_build_env(build_env, os.environ, folder=app, files=build_env_files),
            epoch=parse_epoch(os.environ),
            categories=categories,
            cache_from=cache_from,
            pushed="registry" in destinations,
            whole=set(destinations) != {"registry"},
            strict=strict,
            format=format_,
        )
        style = "json" if as_json else "quiet" if quiet else "verbose" if verbose else "plain"
        root, warning = find_store(os.environ)
        if warning:
            print_warning(warning)
        store = Store(root)
        platforms = read_platforms(app, environ=os.environ, flag=platform)
        if len(platforms) > 1:
            from deployer.cli.several import build_several

            return build_several(
                app,
                platforms=platforms,
                options=options,
                destinations=targets,
                store=store,
                style=style,
                transport=transport,
                sbom=sbom,
                asked=asked,
            )
        answer = partial(
            answer_of,
            app=str(app),
            style=style,
            loaded=any(target.kind == "docker" for target in targets),
            special=bool(
                references or stack or platform or labels or build_env or build_env_files or categories or cache_from
            ),
        )

        def remember(built: Built) -> None:
            """Write the record while an engine is at work; of other destinations nobody could tell what they have."""
            from buildpack.oci.engine_upload import PRESENT

            only = [target.kind for target in targets] == ["docker"]
            again = unchanged(answer(built, [loaded_text(0, 0, PRESENT)])) if only else None
            _remember(asked, built, again, store, loaded=only)

        with Reporter(quiet=quiet or as_json) as reporter:
            built, deliveries = build_and_deliver(
                app,
                options=options,
                destinations=targets,
                store=store,
                environ=os.environ,
                observer=ignore if quiet or as_json else reporter,
                head_start=head_start,
                meanwhile=remember,
                transport=transport,
            )
        if sbom and transport and options.pushed:
            from deployer.building.pushing import parse_targets
            from deployer.proof.attaching import attached_text

            deliveries.append(attached_text(built.image, parse_targets(built.references), transport=transport))
    show_answer(answer(built, deliveries, transport.traffic if transport else None))
    if not targets:
        _remember(asked, built, unchanged(answer(built, [])), store)
    return 0


def _head_start(*, wanted: bool) -> AbstractContextManager[HeadStart | None]:
    if not wanted:
        return nullcontext()
    # Its imports come first: a thread that imports while another does waits at each file.
    from buildpack.oci.warm_up import HeadStart

    return HeadStart(os.environ)


def _registries(
    references: Sequence[str], cache_from: Sequence[str], *, pushed: bool
) -> AbstractContextManager[Transport | None]:
    """Return what registries are spoken to through, where images in them matter; raises UsageError for their names."""
    if not (pushed or cache_from):
        return nullcontext()
    from buildpack.oci.reference import parse_reference
    from buildpack.oci.transport import Transport
    from deployer.building.pushing import parse_targets
    from deployer.errors.commands import push_unnamed

    homes = parse_targets(references) if pushed else tuple(map(parse_reference, references))
    if pushed and not homes:
        raise push_unnamed()
    transport = Transport(os.environ, homes=(*homes, *map(parse_reference, cache_from)))
    transport.warm()
    return transport


def _remember(
    asked: Asked | None, built: Built, answer: dict[str, Any] | None, store: Store, *, loaded: bool = False
) -> None:
    if asked is None or asked.unchanged:
        return
    from deployer.building.recording import write_record

    now = time.time()
    write_record(asked, [built], built.image, answer, store=store, environ=os.environ, now=now, loaded=loaded)


def answer_of(
    built: Built,
    sent: Sequence[str],
    traffic: Traffic | None = None,
    *,
    app: str,
    style: str,
    loaded: bool,
    special: bool,
) -> dict[str, Any]:
    """Return the outcome as `summary` shows it; `app` is the folder as it was typed, `sent` says what went where.

    `special` tells that a build of the folder alone would give another image, or another name.
    """
    return {
        "report": {**report(built), **(moved(traffic) if traffic else {})},
        "kept": not built.elsewhere,
        "slots": [made.planned.slot for made, _ in built.layers],
        "unchanged": built.unchanged,
        "app": app,
        "style": style,
        "sent": list(sent),
        "loaded": loaded,
        "special": special,
    }

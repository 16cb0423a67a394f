"""`deploy build` for several platforms: one index, and what became of each platform's image."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.build import Built, Options
from buildpack.multi import BuiltIndex
from buildpack.oci.image import Platform
from buildpack.oci.store import Store
from buildpack.progress import ignore
from deployer.cli.messages import plural, print_warning, size_text
from deployer.destinations import Destination
from deployer.progress import Reporter
from deployer.several import build_and_deliver_several

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport

__all__ = ["build_several", "report_index"]


def build_several(
    app: Path,
    *,
    platforms: Sequence[Platform],
    options: Options,
    destinations: Sequence[Destination],
    store: Store,
    style: str,
    transport: Transport | None = None,
    sbom: bool = False,
) -> int:
    """Build for each platform and say what came of it; `style` is as `summary` has it."""
    from deployer.cli.build import attach_sbom, moved

    silent = style in {"json", "quiet"}
    with Reporter(quiet=silent) as reporter:
        built, sent = build_and_deliver_several(
            app,
            platforms=platforms,
            options=options,
            destinations=destinations,
            store=store,
            environ=os.environ,
            observer=ignore if silent else reporter,
            transport=transport,
        )
        if sbom and transport and options.pushed:
            sent.append(attach_sbom(built.index, built.references, transport))
    if style == "json":
        traffic = moved(transport.traffic) if transport else {}
        print(json.dumps({**report_index(built), **traffic}, ensure_ascii=False))
        return 0
    for text in built.warnings:
        print_warning(text)
    if style != "quiet":
        lines = [*_summarise(built, str(app), verbose=style == "verbose"), *(f"  sent     {text}" for text in sent)]
        if not built.kept:
            lines.append("  kept     not in the store: what was reused is in the registry only")
        print("\n".join(lines), file=sys.stderr)
    print(built.index.digest, flush=True)
    if style != "quiet":
        run = "deploy run" if built.kept else "docker run --rm -e PORT=8000 -p 8000:8000"
        print(f"\nNext: {run} {_short_name(built.references[0])}", file=sys.stderr)
    return 0


def report_index(built: BuiltIndex) -> dict[str, Any]:
    """Return what `--json` prints, schema 1: the index, and each platform's build as if it were alone."""
    from deployer.cli.build import SCHEMA, report

    return {
        "schema": SCHEMA,
        "digest": str(built.index.digest),
        "references": list(built.references),
        "size": built.index.size,
        "seconds": round(built.seconds, 3),
        "platforms": [report(one) for one in built.platforms],
        "warnings": list(built.warnings),
    }


def _summarise(built: BuiltIndex, app: str, *, verbose: bool) -> Iterator[str]:
    verb = "Unchanged:" if built.unchanged else "Built"
    yield f"{verb} {_short_name(built.references[0])} from {app} in {built.seconds:.2f} s"
    stacks: dict[str, list[str]] = {}
    for one in built.platforms:
        stacks.setdefault(f"{one.stack.python.version} on {one.stack.name}", []).append(str(one.stack.platform))
    for stack, platforms in stacks.items():
        yield f"  python   {stack} ({', '.join(platforms)})"
    for process in built.platforms[0].app.processes:
        yield f"  {process.name:<8} {process.command}"
    for one in built.platforms:
        yield from _summarise_one(one, verbose=verbose)
    layers = built.index.layers
    shared = sum(len(one.image.layers) for one in built.platforms) - len(layers)
    yield f"  size     {size_text(built.index.size)} in {plural(len(layers), 'layer')}, {shared} of them shared"


def _summarise_one(built: Built, *, verbose: bool) -> Iterator[str]:
    written = [(made, reason) for made, reason in built.layers if made.source == "built"]
    yield (
        f"  image    {built.stack.platform}: {size_text(built.image.size)} in "
        f"{plural(len(built.image.layers), 'layer')}: {len(built.stack_layers)} of the stack, "
        f"{len(built.layers) - len(written)} reused, {len(written)} written"
    )
    for made, reason in built.layers if verbose else written:
        if made.source == "built" and (verbose or reason != "first build"):
            yield f"  written  {made.planned.slot:<14} {size_text(made.layer.size):>7}  {reason}"
        elif verbose:
            members = ", ".join(f"{member.name} {member.version}" for member in made.planned.members)
            yield f"  reused   {made.planned.slot:<14} {size_text(made.layer.size):>7}  {members}".rstrip()


def _short_name(reference: str) -> str:
    return reference.removeprefix("docker.io/").removeprefix("library/")

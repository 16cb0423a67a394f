"""`deploy inspect`: shows what an image contains."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from buildpack.errors import show
from deployer.cli import options
from deployer.cli.messages import print_json, print_warning
from deployer.cli.operands import image_name, is_folder
from deployer.text import harmless_json, plural, short_name, size_text

if TYPE_CHECKING:
    from deployer.proof.inspecting import Inspection

EXAMPLES = """\b
Examples:
  deploy inspect blasto                       the image of the app in blasto
  deploy inspect ghcr.io/me/blasto:1 --sbom   an image in a registry
"""

_WIDTH = 80
_INDENT = 13


@click.command("inspect", cls=options.Command, epilog=EXAMPLES)
@options.app_or_image("reference")
@options.option("--sbom", is_flag=True, help="Print the bill of materials (CycloneDX 1.6, JSON).")
@options.option("--layers", is_flag=True, help="List the layers and their packages.")
@options.platform
@options.remote
@options.as_json
def command(reference: str, sbom: bool, layers: bool, platform: str | None, remote: bool, as_json: bool) -> int:
    """Show what an image contains: stack, process types, packages and layers.

    APP is a folder (default: the current one), and means the image with the app's name. REF is the name of an image.
    The store is searched first, then the image's registry. Of a registry's image only the app's layer is downloaded.
    """
    from buildpack.session import open_store
    from buildpack.stacks.platforms import parse_platform
    from deployer.proof.found import find_image
    from deployer.proof.inspecting import inspect_image, render

    chosen = parse_platform(platform) if platform else None
    name = image_name(reference, os.environ)
    app = reference if is_folder(reference) else ""
    with find_image(
        name,
        platform=chosen,
        remote=remote,
        store=open_store(os.environ, warn=print_warning),
        environ=os.environ,
        app=app,
    ) as found:
        if sbom:
            from buildpack.steps.sbom import make_sbom

            sys.stdout.write(harmless_json(make_sbom(found.image).decode()))
            return 0
        inspection = inspect_image(found)
    if as_json:
        print_json(render(inspection))
        return 0
    print("\n".join(_lines(inspection, layers=layers)))
    return 0


def _lines(inspection: Inspection, *, layers: bool) -> Iterator[str]:
    found, origin = inspection.found, inspection.provenance
    name = short_name(found.name)
    yield f"{name}, in the store" if found.origin == "store" else f"{name}, in the registry"
    if not origin.ours:
        yield "not built by deploy, so its layers do not say what they contain"
    yield from _row("digest", str(found.digest))
    if found.digest != found.image.digest:
        yield from _row("image", f"{found.image.digest} for {found.platform}")
    yield from _row("platform", ", ".join(map(str, found.platforms)))
    if origin.created:
        yield from _row("created", origin.created)
    yield from _stack(inspection)
    yield from _starts(inspection)
    count = len(found.image.layers)
    base = len(origin.stack_layers)
    own = f": {base} of the stack, {count - base} on top" if origin.ours else ""
    yield from _row("size", f"{size_text(found.image.size)} in {plural(count, 'layer')}{own}")
    if origin.packages:
        yield from _row("packages", ", ".join(f"{each.name} {each.version}" for each in origin.packages))
    for name, value in origin.labels.items():
        if not (origin.ours and name.startswith(("dev.deploy.", "org.opencontainers.image.base."))):
            yield from _row("label", f"{name}={value}")
    if layers:
        yield ""
        yield from _layers(inspection)


def _stack(inspection: Inspection) -> Iterator[str]:
    origin = inspection.provenance
    if origin.python:
        same = origin.bytecode == origin.python
        compiled = "none" if origin.bytecode == "none" else "compiled" if same else f"compiled by {origin.bytecode}"
        yield from _row("python", f"{origin.python}, byte code {compiled}" if origin.bytecode else origin.python)
    if origin.stack is not None:
        name, _, _ = inspection.stack_name.partition("@")
        yield from _row("stack", name or "named by the image only; this machine has no name for its digest")
        yield from _row("", str(origin.stack))
    if origin.facts is not None:
        name, *version = origin.facts.libc
        yield from _row("libc", f"{name} {'.'.join(map(str, version))}, {origin.facts.machine}")


def _starts(inspection: Inspection) -> Iterator[str]:
    from deployer.proof.inspecting import launches, render

    launch = inspection.launch
    if launch is not None:
        for name, process in launch.processes.items():
            count = f" (x{launch.formation[name]})" if name in launch.formation else ""
            yield from _row(name, f"{process}{count}{' (default)' if name == launch.default else ''}")
        if launch.app_object:
            yield from _row("app object", launch.app_object)
    elif inspection.unread:
        yield from _row("processes", f"unknown: {inspection.unread}")
    report = render(inspection)
    if launch is not None and launches(inspection.provenance):
        return
    for name in ("entrypoint", "command"):
        if report[name]:
            yield from _row(name, json.dumps(report[name], ensure_ascii=False))


def _layers(inspection: Inspection) -> Iterator[str]:
    from deployer.proof.inspecting import render

    for layer in render(inspection)["layers"]:
        members = ", ".join(f"{each['name']} {each['version']}" for each in layer["members"])
        head = f"  {layer['name']:<16} {size_text(layer['size']):>7}  {layer['digest'].removeprefix('sha256:')[:12]}  "
        yield from _wrapped(head, show(members))


def _row(name: str, value: str) -> Iterator[str]:
    head = f"  {show(name):<{_INDENT - 3}} "
    yield from _wrapped(head, show(value))


def _wrapped(head: str, text: str) -> Iterator[str]:
    """Wrap at the screen's width; a word such as a digest stays whole."""
    lines = textwrap.wrap(text, max(20, _WIDTH - len(head)), break_long_words=False, break_on_hyphens=False) or [""]
    first = head + lines[0]
    # A digest fits if it begins before the column.
    yield (first if len(first) <= _WIDTH else f"{head.rstrip() or ' ' * 8} {lines[0]}").rstrip()
    for line in lines[1:]:
        yield " " * len(head) + line

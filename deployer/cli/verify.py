"""`deploy verify`: builds an image again from its source, and shows where the two differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options
from deployer.cli.messages import print_json, print_line, print_warning
from deployer.cli.operands import image_name, is_folder
from deployer.text import folder_text, plural, short_name

if TYPE_CHECKING:
    from buildpack.oci.compare import EntryDifference, LayerDifference
    from buildpack.oci.compare_documents import ValueDifference
    from deployer.proof.verifying import Verdict

EXAMPLES = """\b
Examples:
  deploy verify blasto                         the image of the app in blasto
  deploy verify ghcr.io/me/blasto:1 ./blasto   an image in a registry
"""

_SHOWN = 10
"""Differences of one layer that are listed; `--json` has more."""


@click.command("verify", cls=options.Command, epilog=EXAMPLES)
@options.app_or_image("reference")
@options.folder("app", required=False)
@options.stack
@options.platform
@options.label
@options.build_env
@options.build_env_file
@options.category
@options.remote
@options.as_json
@options.verbose
def command(reference: str, app: Path | None, **given: Any) -> int:
    """Build an app again from its source, and compare the result with an image bit for bit.

    The first operand is the image: REF, or the folder of an app whose name the image has (default: the current one).
    The second is the folder of the source, if it is another one. Give the same options and SOURCE_DATE_EPOCH as for
    the first build. Nothing of earlier builds is reused. If the images differ, the exit code is 60, and the message
    names the files that differ and possible causes.
    """
    from buildpack.session import open_session, open_store
    from deployer.cli.progress import Reporter
    from deployer.errors import proof as errors
    from deployer.interrupts import ending_promptly
    from deployer.proof.verifying import render, verify

    as_json = given["as_json"]
    folder = app or Path(reference if is_folder(reference) else ".")
    store = open_store(os.environ, warn=print_warning)
    with ending_promptly(), Reporter(quiet=as_json) as reporter:
        verdicts = verify(
            image_name(reference, os.environ),
            folder,
            options.read_options(given, folder),
            open_session(store, os.environ, observer=reporter),
            remote=given["remote"],
            app=reference if is_folder(reference) else "",
        )
    equal = all(verdict.equal for verdict in verdicts)
    if as_json:
        print_json(render(verdicts))
        return 0 if equal else errors.Differs.exit_code
    _show(verdicts, folder)
    return 0


def _show(verdicts: Sequence[Verdict], folder: Path) -> None:
    """Print the images that are equal; raises Differs if an image is not what its source builds."""
    from deployer.errors import proof as errors

    name = short_name(verdicts[0].name)
    shown = folder_text(str(folder))
    different = [verdict for verdict in verdicts if not verdict.equal]
    if different:
        raise errors.differs(
            name,
            shown,
            details="\n".join(_details(different, named=len(verdicts) > 1)),
            hints=[reason.hint for verdict in different for reason in verdict.reasons if reason.hint],
        )
    for verdict in verdicts:
        where = "in the store" if verdict.origin == "store" else "in the registry"
        print_line(f"Verified: {name}, {where}, is what {shown} builds, bit for bit")
        print_line(f"  built again in {verdict.seconds:.2f} s on {verdict.stack} ({verdict.platform})")
        print_line(f"  {_compared(verdict)}")
        print(verdict.digest)


def _compared(verdict: Verdict) -> str:
    """Say how much of an equal image was read."""
    if verdict.origin == "registry":
        return "compared by digest; no layer was fetched"
    return f"read {plural(verdict.read, 'blob')} in the store"


def _details(verdicts: Sequence[Verdict], *, named: bool) -> Iterator[str]:
    for number, verdict in enumerate(verdicts):
        if number:
            yield ""
        yield f"For {verdict.platform}:" if named else "Digests:"
        yield f"  the image    {verdict.digest}"
        yield f"  built again  {verdict.rebuilt}"
        for layer in verdict.comparison.layers:
            yield from _layer(layer)
        if verdict.comparison.reordered:
            yield "The layers are in another order."
        for title, values in (("config", verdict.comparison.config), ("manifest", verdict.comparison.manifest)):
            if values:
                yield f"The {title}:"
                yield from _cut([f"  {_value(value)}" for value in values], len(values))
        yield ""
        for reason in verdict.reasons:
            yield reason.why


def _layer(layer: LayerDifference) -> Iterator[str]:
    only = {"image": ", only in the image", "rebuilt": ", not in the image", None: ""}[layer.only]
    named = layer.name if layer.name.startswith("layer ") else f"layer {layer.name}"
    yield f"The {named}{only}{':' if layer.note or layer.entries else ''}"
    if layer.note:
        yield f"  {layer.note}"
    yield from _cut(list(_entries(layer.entries)), len(layer.entries) + layer.more)


def _entries(entries: Sequence[EntryDifference]) -> Iterator[str]:
    """Yield a line for each entry; entries of which only the time differs share one."""
    from deployer.proof.reasons import only_times

    dated = [entry for entry in entries if only_times(entry)]
    for entry in entries:
        if entry not in dated:
            yield f"  /{entry.path}: {_what(entry)}"
    if len(dated) == 1:
        yield f"  /{dated[0].path}: {_what(dated[0])}"
    elif dated:
        yield f"  {plural(len(dated), 'entry').replace('entrys', 'entries')}: {_what(dated[0])}"


def _what(entry: EntryDifference) -> str:
    if entry.only is not None:
        return "only in the image" if entry.only == "image" else "not in the image"
    return "; ".join("other content" if field.path == "content" else _value(field) for field in entry.fields)


def _value(value: ValueDifference) -> str:
    own, other = value.image or "none", value.rebuilt or "none"
    if value.path == "mtime":
        own, other = _date(own), _date(other)
    return f"{value.path} {own} in the image, {other} built"


def _date(seconds: str) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(seconds)))
    except (OSError, OverflowError, ValueError):
        return seconds


def _cut(lines: Sequence[str], count: int) -> Iterator[str]:
    yield from lines[:_SHOWN]
    more = count - min(len(lines), _SHOWN)
    if more > 0 and len(lines) > _SHOWN:
        yield f"  and {more} more, which --json lists"

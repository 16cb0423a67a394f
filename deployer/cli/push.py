"""`deploy push`: sends an image from the store to a registry."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from deployer.cli import options
from deployer.cli.messages import print_json, print_warning
from deployer.cli.operands import image_name
from deployer.cli.summary import moved

if TYPE_CHECKING:
    from buildpack.oci.image import Format

SCHEMA = 1

EXAMPLES = """\b
Examples:
  deploy push ghcr.io/you/blasto:1             an image that has this name
  deploy push blasto -t ghcr.io/you/blasto:1   the image of the app in blasto
"""


@click.command("push", cls=options.Command, epilog=EXAMPLES)
@options.app_or_image("operand")
@options.option(
    "-t", "--tag", "targets", multiple=True, metavar="REF", help="Push under this name (repeatable).  [default: REF]"
)
@options.no_sbom
@options.image_format
@options.as_json
@options.quiet
def command(
    operand: str, targets: tuple[str, ...], no_sbom: bool, format_: Format | None, as_json: bool, quiet: bool
) -> int:
    """Push an image from the store to a registry, without building it again.

    APP is a folder (default: the current one), and means the image with the app's name. REF is the name of an image in
    the store. Only the layers that the registry lacks are sent.
    """
    from buildpack.delivery.pushing import find_stored, parse_targets, push_stored
    from buildpack.oci.image import Image, convert
    from buildpack.oci.index import convert_index
    from buildpack.oci.reference import format_for, parse_reference
    from buildpack.oci.transport import Transport
    from buildpack.session import open_session, open_store
    from deployer.cli.progress import Reporter
    from deployer.interrupts import ending_promptly
    from deployer.proof.attaching import attached_text
    from deployer.text import pushed_text

    name = parse_reference(image_name(operand, os.environ))
    references = parse_targets(targets or (str(name),))
    store = open_store(os.environ, warn=print_warning)
    image = find_stored(str(name), store)
    if format_ or format_for(references) == "docker":
        chosen = format_ or "docker"
        image = convert(image, chosen) if isinstance(image, Image) else convert_index(image, chosen)
    with (
        ending_promptly(),
        Transport(os.environ, homes=references) as transport,
        Reporter(quiet=quiet or as_json) as reporter,
    ):
        session = open_session(store, os.environ, observer=reporter, transport=transport)
        pushed = push_stored(image, references, session)
        bill = "" if no_sbom else attached_text(image, references, transport=transport)
        traffic = transport.traffic
    if as_json:
        report = {
            "schema": SCHEMA,
            "digest": str(pushed.digest),
            "references": [str(reference) for reference in pushed.references],
            "sent": list(map(str, pushed.sent)),
            "mounted": list(map(str, pushed.mounted)),
            "present": list(map(str, pushed.present)),
            "sbom": bill or None,
            **moved(traffic),
        }
        print_json(report)
        return 0
    if not quiet:
        print(f"Pushed {pushed_text(pushed, image)}{f'; {bill}' if bill else ''}", file=sys.stderr)
    print(pushed.digest)
    return 0

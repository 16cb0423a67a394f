"""`deploy build` for several platforms: one index, and what became of each platform's image."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.oci.image import Platform
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.progress import ignore
from deployer.building.destinations import Destination
from deployer.building.several import build_and_deliver_several
from deployer.cli.progress import Reporter
from deployer.cli.report import moved, report_index
from deployer.cli.summary import show_answer, unchanged

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport
    from deployer.building.record import Asked


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
    asked: Asked | None = None,
) -> int:
    """Build for each platform and say what came of it; `style` is as `summary` has it.

    `asked` tells under which record it may be remembered.
    """
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
            from deployer.building.pushing import parse_targets
            from deployer.proof.attaching import attached_text

            sent.append(attached_text(built.index, parse_targets(built.references), transport=transport))
    answer = {
        "report": {**report_index(built), **(moved(transport.traffic) if transport else {})},
        "kept": built.kept,
        "slots": [[made.planned.slot for made, _ in one.layers] for one in built.platforms],
        "unchanged": built.unchanged,
        "app": str(app),
        "style": style,
        "sent": sent,
        "loaded": False,
        "special": True,
    }
    show_answer(answer)
    if asked is not None and not destinations:
        from deployer.building.recording import write_record

        again = unchanged(answer)
        write_record(asked, built.platforms, built.index, again, store=store, environ=os.environ, now=time.time())
    return 0

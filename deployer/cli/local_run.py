"""Runs an app's folder as processes of this machine: `deploy local`, and `deploy run` if there is no engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.cli.messages import print_line, print_nothing, print_warning
from deployer.cli.operands import Operands, check_types

if TYPE_CHECKING:
    from buildpack.oci.store import Store


def run_here(meant: Operands, options: Mapping[str, Any], *, default_port: int, command: str) -> int:
    """Prepare the app's environment, then run its processes until they end; return the exit code.

    `options` are the parsed ones of `command`, which may lack those that only `deploy local` has.
    """
    from datetime import date

    from buildpack.session import open_store
    from deployer.cli.progress import Reporter
    from deployer.engines.local.run import Hears, LocalRequest, prepare, run_local
    from deployer.errors.local import reference_given
    from deployer.settings.config import parse_health_host
    from deployer.settings.environment import parse_assignments

    if meant.reference is not None:
        raise reference_given(meant.reference)
    check_types(meant)
    quiet = options["quiet"]
    request = LocalRequest(
        folder=meant.folder,
        shown=meant.shown,
        named=meant.formation,
        command=meant.command,
        given=parse_assignments(one for one in options["assignments"] if one not in os.environ),
        env_files=[Path(path) for path in options["env_files"]],
        port=options["port"],
        default_port=default_port,
        venv=options.get("venv"),
        dev=options.get("dev", False),
        reload=options.get("reload", False),
        restart=options["restart"],
        stop_timeout=options["stop_timeout"],
        boot_timeout=options["boot_timeout"],
        health_host=parse_health_host(options["health_host"]),
        log_format=options["log_format"],
        quiet=quiet,
        categories=options["categories"],
        again=meant.again(command),
    )
    warn, say = (print_nothing, print_nothing) if quiet else (print_warning, print_line)
    opened: list[Store] = []  # as long as the processes run, because their environment is in it

    def store() -> Store:
        opened.append(open_store(os.environ, warn=warn))
        return opened[-1]

    with Reporter(quiet=quiet) as reporter:
        prepared = prepare(
            request,
            store=store,
            environ=os.environ,
            today=date.today(),  # noqa: DTZ011  end-of-life dates have no time zone
            hears=Hears(progress=reporter, say=say, warn=warn),
        )
    for each in opened:
        each.lease.survive_exec()
    return run_local(prepared, out=sys.stdout.buffer)

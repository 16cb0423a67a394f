"""The way from a command line to an app in the foreground, for `deploy run` and `deploy local`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.cli import options as shared
from deployer.cli.messages import print_line, print_nothing, print_warning

if TYPE_CHECKING:
    from deployer.cli.operands import Operands
    from deployer.engines.engine import Engine


def run_on(engine: Engine, meant: Operands, options: Mapping[str, Any], *, command: str, default_port: int) -> int:
    """Get the app or image ready on an engine, and run it until it ends; return the exit code.

    `options` are the parsed ones of `command`, which has those that its engine understands.
    """
    from buildpack.session import open_store
    from deployer.cli.progress import Reporter
    from deployer.engines.engine import Listener, Request
    from deployer.engines.foreground import run_app
    from deployer.engines.ports import parse_host
    from deployer.formation import parse_limits
    from deployer.settings.config import parse_health_host

    request = Request(
        folder=meant.folder,
        shown=meant.shown,
        reference=meant.reference,
        named=meant.formation,
        command=meant.command,
        assignments=options["assignments"],
        env_files=[Path(path) for path in options["env_files"]],
        port=options["port"],
        default_port=default_port,
        options=shared.read_options(options, meant.folder),
        stop_timeout=options["stop_timeout"],
        boot_timeout=options["boot_timeout"],
        health_host=parse_health_host(options["health_host"]),
        restart=options["restart"],
        log_format=options["log_format"],
        quiet=options["quiet"],
        again=meant.again(command),
        host=parse_host(options.get("host", "localhost")),
        limits=parse_limits(options.get("memory") or "", options.get("cpus") or ""),
        confined=not options.get("privileged_defaults"),
        build=options.get("build") is not False,
        terminal=bool(meant.command) and sys.stdin.isatty() and sys.stdout.isatty(),
        venv=options.get("venv"),
        dev=options.get("dev", False),
        reload=options.get("reload", False),
    )
    warn, say = (print_nothing, print_nothing) if request.quiet else (print_warning, print_line)
    store = cache(lambda: open_store(os.environ, warn=warn))
    with Reporter(quiet=request.quiet) as reporter:
        listener = Listener(progress=reporter, say=say, warn=warn)
        app = engine.offer(request, store=store, environ=os.environ, listener=listener)
    if request.command:
        return app.attach()
    return run_app(app, request, out=sys.stdout.buffer, environ=os.environ)

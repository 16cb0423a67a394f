"""Measure building and pushing on a machine with empty caches, beside BuildKit with its cache in the registry.

    python benchmarks/registry.py --json result.json

It empties the engine's build cache again and again. benchmarks/README.md says what each row does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import select
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import measure
import stand_in
from build import cleaning, describe, prepare_images, push_base, tell
from contenders import HERE, PREFIX, ROOT, App, Docker, find_docker

ROWS = {
    "line": ("machine with empty caches, one line changed, built and pushed", 1 / 30),
    "dependency": ("machine with empty caches, one small dependency changed, built and pushed", None),
    "nothing": ("machine with empty caches, nothing changed, built and pushed", None),
    "cold": ("machine with empty caches, an empty repository: all built and pushed", None),
    "push": ("first push of everything that is built already", 0.25),
}
TITLES = {"uv": "BuildKit + uv", "registry": "deploy, stack python:3.11", "host": "deploy, stack host"}


class Relay:
    """Passes connections on to the registry and counts what moves; one port for one measurement."""

    def __init__(self, upstream: str) -> None:
        self.sent = self.received = 0
        host, _, port = upstream.partition(":")
        self._upstream = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as registry:
            other = {client: registry, registry: client}
            while True:
                for ready in select.select([client, registry], [], [])[0]:
                    piece = ready.recv(1 << 18)
                    if not piece:
                        return
                    if ready is client:
                        self.sent += len(piece)
                    else:
                        self.received += len(piece)
                    other[ready].sendall(piece)


class Contender(Protocol):
    """One column of the table; `name` is its title's key."""

    name: str
    app: App

    def forget(self) -> None:
        """Make this machine one that has never built anything."""

    def build_and_push(self, reference: str, cache: str) -> list[list[str]]:
        """Return the commands; `cache` is the image that may be taken from, empty for none."""

    def build(self, reference: str) -> list[list[str]]:
        """Return the commands that only build."""

    def push(self, reference: str) -> list[list[str]]:
        """Return the commands that push what was built under this name."""

    def environ(self) -> dict[str, str]: ...


@dataclass(kw_only=True, slots=True)
class Peer:
    """`docker build` with BuildKit and an inline cache, and `docker push`."""

    name: str
    app: App
    docker: Docker
    tools: str

    def forget(self) -> None:
        # By name and by ID: what the next build's name moves away from would stay.
        rows = self.docker.run("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
        ours = [row.split() for row in rows if row.startswith(PREFIX) or (row.startswith("127.") and "/bench/" in row)]
        self.docker.remove([self.tools, *(word for words in ours for word in words)])
        self.docker.prune()

    def build_and_push(self, reference: str, cache: str) -> list[list[str]]:
        return [*self._build(reference, cache), *self.push(reference)]

    def build(self, reference: str) -> list[list[str]]:
        return self._build(reference, "")

    def push(self, reference: str) -> list[list[str]]:
        return [[self.docker.program, "push", "--quiet", reference]]

    def _build(self, reference: str, cache: str) -> list[list[str]]:
        return [
            [
                *(self.docker.program, "build", "--quiet", "--network", "host"),
                *("--build-arg", "BUILDKIT_INLINE_CACHE=1", "--build-arg", f"TOOLS={self.tools}"),
                *(["--cache-from", cache] if cache else []),
                *("--file", str(HERE / "peers" / f"Dockerfile.{self.name}"), "--tag", reference, str(self.app.folder)),
            ]
        ]

    def environ(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_BUILDKIT": "1"}


@dataclass(kw_only=True, slots=True)
class Ours:
    """`deploy build --to registry` of this checkout."""

    name: str
    app: App
    stack: str
    home: Path

    def forget(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def build_and_push(self, reference: str, cache: str) -> list[list[str]]:
        return [[*self.build(reference)[0], "--to", "registry"]]

    def build(self, reference: str) -> list[list[str]]:
        deploy = (sys.executable, "-m", "deployer", "build", str(self.app.folder))
        return [[*deploy, "--stack", self.stack, "-t", reference, "--quiet"]]

    def push(self, reference: str) -> list[list[str]]:
        return [[sys.executable, "-m", "deployer", "push", reference, "--quiet"]]

    def environ(self) -> dict[str, str]:
        return {**os.environ, "DEPLOY_HOME": str(self.home)}


@dataclass(kw_only=True, slots=True)
class Results:
    """Every sample: row -> contender -> seconds, and, of one more run each, bytes sent and received."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    moved: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)


def run(contender: Contender, commands: Sequence[Sequence[str]]) -> float:
    return sum(measure.run(command, cwd=ROOT, environ=contender.environ()).seconds for command in commands)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The parts that all rows need: the registry's address, and numbers for repositories that nobody used.

    With a relay bytes are noted, and no seconds.
    """

    address: str
    results: Results
    repeats: int
    relay: Relay | None
    numbers: Iterator[int]

    def fresh(self, contender: Contender) -> str:
        return f"{self.address}/bench/{contender.name}-{next(self.numbers)}:1"

    def note(self, row: str, contender: Contender, commands: Sequence[Sequence[str]]) -> None:
        """Run the commands and note what they took."""
        relay = self.relay
        before = (relay.sent, relay.received) if relay else (0, 0)
        seconds = run(contender, commands)
        if relay is None:
            self.results.seconds.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
            tell(f"{contender.name:>9}  {row:<11} {seconds:7.3f} s")
        else:
            sent, received = relay.sent - before[0], relay.received - before[1]
            self.results.moved.setdefault(row, {})[contender.name] = (sent, received)
            tell(f"{contender.name:>9}  {row:<11} {sent:,} bytes sent, {received:,} received")

    def changed(self, row: str, contender: Contender) -> None:
        """Build on an empty machine what somebody else pushed before, with a change."""
        for _ in range(self.repeats):
            contender.app.restore()
            contender.forget()
            reference = self.fresh(contender)
            run(contender, contender.build_and_push(reference, ""))
            if row == "line":
                contender.app.change_line()
            elif row == "dependency":
                contender.app.change_dependency()
            contender.forget()
            self.note(row, contender, contender.build_and_push(reference, reference))

    def cold(self, contender: Contender) -> None:
        """Build and push on an empty machine, to an empty repository."""
        for _ in range(self.repeats):
            contender.app.restore()
            contender.forget()
            self.note("cold", contender, contender.build_and_push(self.fresh(contender), ""))

    def push(self, contender: Contender) -> None:
        """Push to an empty repository what is in the engine, or in the store."""
        contender.app.restore()
        for _ in range(self.repeats):
            contender.forget()
            reference = self.fresh(contender)
            run(contender, contender.build(reference))
            self.note("push", contender, contender.push(reference))


def render(results: Results, names: Sequence[str]) -> str:
    """Render the rows that were measured as a Markdown table."""
    ours = [name for name in names if name != "uv"]
    lines = [["work", *(TITLES[name] for name in names), *(f"{name} / uv" for name in ours), "target"]]
    lines.append(["---"] * len(lines[0]))
    for row, (title, target) in ROWS.items():
        if row not in results.seconds:
            continue
        medians = {name: statistics.median(samples) for name, samples in results.seconds[row].items()}
        ratios = [f"{medians[name] / medians['uv']:.3f}" if {name, "uv"} <= medians.keys() else "" for name in ours]
        cells = [f"{medians[name]:.2f} s" if name in medians else "" for name in names]
        lines.append([title, *cells, *ratios, f"at most {target:.3f}" if target else ""])
        if moved := results.moved.get(row):
            told = [f"{_size(*moved[name])}" if name in moved else "" for name in names]
            lines.append(["sent + received", *told, *[""] * len(ours), ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(sent: int, received: int) -> str:
    return f"{sent / 1e6:.2f} + {received / 1e6:.2f} MB"


def parse_arguments() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--contenders", default=",".join(TITLES), help=f"of {','.join(TITLES)}")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each row (default 3)")
    parser.add_argument("--base", metavar="IMAGE", help="pull this image as the base, instead of making a stand-in")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample to this file")
    return parser.parse_args()


def push_tools(docker: Docker, address: str) -> str:
    """Push the peers' tools, so that an empty machine can pull them."""
    reference = f"{address}/tools:1"
    docker.run("tag", f"{PREFIX}tools", reference)
    docker.run("push", reference)
    return reference


def measure_all(bench: Bench, rows: Sequence[str], names: Sequence[str], docker: Docker, folder: Path) -> None:
    base = push_base(docker, bench.address)
    tools = push_tools(docker, bench.address)
    for name in names:
        app = App(folder=folder / name / "bookshelf", export=name == "uv")
        contender: Contender = (
            Peer(name=name, app=app, docker=docker, tools=tools)
            if name == "uv"
            else Ours(name=name, app=app, stack=base if name == "registry" else name, home=folder / name / "home")
        )
        for row in rows:
            if row == "cold":
                bench.cold(contender)
            elif row == "push":
                bench.push(contender)
            else:
                bench.changed(row, contender)
        contender.forget()


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    docker = find_docker(dict(os.environ))
    docker.remove_ours()
    machine = describe(docker)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deploy-bench"
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        rows, names, results = options.rows.split(","), options.contenders.split(","), Results()
        with cleaning(docker, []), stand_in.registry(folder) as address:
            relay, numbers = Relay(address), itertools.count()
            for bench in (
                Bench(address=address, results=results, repeats=options.repeats, relay=None, numbers=numbers),
                Bench(address=relay.name, results=results, repeats=1, relay=relay, numbers=numbers),
            ):
                # The peers' machines forget the base and the tools as well.
                prepare_images(docker, options.base, cache)
                measure_all(bench, rows, names, docker, folder)
            relay.close()
    machine["load_after"] = round(os.getloadavg()[0], 2)
    print(render(results, names))
    print(f"\nMedians of {options.repeats}. " + ", ".join(f"{key} {value}" for key, value in machine.items()))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, **asdict(results)}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except measure.CommandFailedError as failure:
        raise SystemExit(f"error: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None

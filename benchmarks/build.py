"""Measure `deploy build` beside Dockerfiles that do the same job; print a table of medians and ratios.

    python benchmarks/build.py --json result.json

It empties the engine's build cache again and again. benchmarks/README.md says what each row does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import measure
import stand_in
from contenders import HERE, PREFIX, ROOT, App, Contender, Docker, Ours, Peer, find_docker

PIPENV, UV = "2026.10.3", "0.13.8"
PEERS = ("pipenv", "uv", "uv-cache")
STACKS = ("host", "registry")
TITLES = {
    "pipenv": "BuildKit + pipenv",
    "uv": "BuildKit + uv",
    "uv-cache": "BuildKit + uv, cache mount",
    "host": "deploy, stack host",
    "registry": "deploy, stack python:3.11",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table; ``target`` is the highest ratio to BuildKit + uv, or the highest figure."""

    title: str
    target: float
    unit: str = "uv"


ROWS = {
    "store": Row(title="cold: empty caches to image in the store", target=0.7),
    "engine": Row(title="cold: empty caches to image loaded in the engine", target=1.0),
    "nothing": Row(title="nothing changed", target=1.0),
    "nothing-loaded": Row(title="nothing changed, the engine asked too (`--to docker`)", target=1.0),
    "line": Row(title="one line of the app changed, loaded", target=1.5),
    "dependency": Row(title="one small dependency changed, loaded", target=0.1),
    "memory": Row(title="memory while building", target=300, unit="MB"),
    "start": Row(title="container start to first 200", target=0.7, unit="bare"),
}
LOADED = {"engine", "nothing", "nothing-loaded", "line", "dependency"}
BARE = "without byte code"


@dataclass(kw_only=True, slots=True)
class Results:
    """Every sample of the run: row -> contender -> samples, in seconds."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, measure.Memory] = field(default_factory=dict)
    reports: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    best: bool = False

    def add(self, row: str, contender: str, seconds: float) -> None:
        self.seconds.setdefault(row, {}).setdefault(contender, []).append(seconds)
        tell(f"{contender:>9}  {row:<11} {seconds:7.3f} s")

    def figure(self, row: str, contender: str) -> float | None:
        """Return the figure of the table: the median, or the best if `--best` is given."""
        samples = self.seconds.get(row, {}).get(contender)
        if not samples:
            return None
        return min(samples) if self.best else statistics.median(samples)


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def build(
    contender: Contender, results: Results, rows: Sequence[str], *, load: bool = True, cold: bool = False
) -> None:
    """Build once and note the time under these rows; under none, to prepare for another."""
    done = measure.run(contender.command(load=load, cold=cold), cwd=ROOT, environ=contender.environ())
    if load:
        contender.note_image()
    for row in rows:
        results.add(row, contender.name, done.seconds)
    if cold and done.stdout.startswith("{"):
        report = json.loads(done.stdout)
        results.reports.setdefault(contender.name, []).append(report)
        if isinstance(report.get("seconds"), dict):
            tell(" " * 11 + ", ".join(f"{part} {seconds:.2f}" for part, seconds in report["seconds"].items()))


def run_round(contender: Contender, rows: set[str], repeats: int, results: Results) -> None:
    """Take one contender through all rows about building, from empty caches on."""
    contender.app.restore()
    if "store" in rows and contender.has_store:
        contender.forget()
        build(contender, results, ["store"], load=False, cold=True)
    cold = [row for row in ("store", "engine") if row in rows and (row == "engine" or not contender.has_store)]
    if not cold and not rows & LOADED:
        return
    contender.forget()
    build(contender, results, cold, cold=True)
    for row, load in (("nothing", not contender.has_store), ("nothing-loaded", True)):
        if row in rows:
            build(contender, results, [], load=load)
            for _ in range(repeats):
                build(contender, results, [row], load=load)
    for _ in range(repeats if "line" in rows else 0):
        contender.app.change_line()
        build(contender, results, ["line"])
    if "dependency" in rows:
        contender.app.change_dependency()
        build(contender, results, ["dependency"])


def run_memory(contender: Contender, folder: Path, results: Results) -> None:
    """Build from empty caches into the engine under the eyes of the sampler."""
    contender.app.restore()
    contender.forget()
    results.memory[contender.name] = found = measure.measure_memory(
        contender.command(load=True, cold=True),
        cwd=ROOT,
        environ=contender.environ(),
        engine=measure.read_engine_pid(),
        log=folder / f"{contender.name}.log",
    )
    contender.note_image()
    tell(f"{contender.name:>9}  memory      {found.own:.0f} MB, engine + {found.engine:.0f} MB")


def time_first_200(docker: Docker, image: str) -> float:
    """Start a container and return the seconds until its `/` answers 200."""
    name, port = f"{PREFIX}start", stand_in.free_port()
    options = ("--detach", "--name", name, "--network", "host")
    # The same number of workers for all; gunicorn itself reads both variables.
    variables = ("--env", f"PORT={port}", "--env", "WEB_CONCURRENCY=1", "--env", "HOME=/tmp")
    start = time.perf_counter()
    try:
        docker.run("run", *options, *variables, image)
        while time.perf_counter() - start < 60:
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                status = connection.getresponse().status
                connection.close()
                if status == 200:
                    return time.perf_counter() - start
            time.sleep(0.005)
        raise measure.CommandFailedError(f"{image} answered no 200 in a minute\n{docker.run('logs', name)}")
    finally:
        docker.run("rm", "--force", "--volumes", name, check=False)


def run_starts(contenders: Sequence[Contender], docker: Docker, count: int, results: Results) -> None:
    """Start every contender's image in turn, as it is and without its dependencies' byte code."""
    for contender in contenders:
        contender.app.restore()
        build(contender, results, [])
        dockerfile = str(HERE / "peers" / "Dockerfile.no-byte-code")
        options = ("--quiet", "--build-arg", f"IMAGE={contender.image}", "--file", dockerfile)
        docker.run("build", *options, "--tag", f"{contender.image}-bare", str(HERE / "peers"))
    for _ in range(count):
        for contender in contenders:
            results.add("start", contender.name, time_first_200(docker, contender.image))
            results.add(BARE, contender.name, time_first_200(docker, f"{contender.image}-bare"))


def show_seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"


def show_cell(results: Results, row: str, contender: str) -> str:
    if row == "memory":
        found = results.memory.get(contender)
        return f"{found.own:.0f} + {found.engine:.0f} MB" if found else ""
    return show_seconds(results.figure(row, contender))


def compare(results: Results, row: str, contender: str) -> float | None:
    """Return the value that the row's target limits: a ratio, or MB."""
    if ROWS[row].unit == "MB":
        return results.memory[contender].own if contender in results.memory else None
    ours = results.figure(row, contender)
    base = results.figure(BARE, contender) if ROWS[row].unit == "bare" else results.figure(row, "uv")
    return ours / base if ours and base else None


def render_table(results: Results, names: Sequence[str]) -> str:
    """Render the rows that were measured as a Markdown table."""
    stacks = [name for name in names if name in STACKS]
    head = ["work", *(TITLES[name] for name in names), *(f"{name} / uv" for name in stacks), "target"]
    lines = [head, ["---"] * len(head)]
    for key, row in ROWS.items():
        if key not in results.seconds and not (key == "memory" and results.memory):
            continue
        cells = [show_cell(results, key, name) for name in names]
        ratios = [(compare(results, key, name), row.unit) for name in stacks]
        shown = [
            "" if ratio is None else f"{ratio:.0f} MB" if unit == "MB" else f"{ratio:.2f}" for ratio, unit in ratios
        ]
        title = f"{row.title} (ratio: to the same image {BARE})" if row.unit == "bare" else row.title
        target = f"under {row.target:.0f} MB" if row.unit == "MB" else f"at most {row.target}"
        lines.append([title, *cells, *shown, target])
        if key == "start":
            bare = [show_seconds(results.figure(BARE, name)) for name in names]
            lines.append([f"the same, {BARE}", *bare, *[""] * len(stacks), ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe(docker: Docker) -> dict[str, str | int | float]:
    """Describe the machine and every program that takes part."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        **measure.describe_machine(),
        "docker_client": docker.run("version", "--format", "{{.Client.Version}}"),
        "docker_engine": docker.run("version", "--format", "{{.Server.Version}}"),
        "storage_driver": docker.run("info", "--format", "{{.Driver}}"),
        "pipenv": PIPENV,
        "uv": UV,
        "deploy": commit or "unknown",
    }


def prepare_images(docker: Docker, base: str | None, cache: Path) -> None:
    """Make the base and, on it, the peers' tools. The base's tar is kept for the next run."""
    tell("preparing: the base and the peers' tools")
    image = f"{PREFIX}base"
    if base:
        docker.run("pull", base)
        docker.run("tag", base, image)
    else:
        path = stand_in.make_base(cache, os.environ)
        docker.run("import", *(word for change in stand_in.CONFIG for word in ("--change", change)), str(path), image)
    versions = ("--build-arg", f"PIPENV={PIPENV}", "--build-arg", f"UV={UV}", "--build-arg", f"BASE={image}")
    dockerfile = str(HERE / "peers" / "Dockerfile.tools")
    docker.run(
        "build", "--network", "host", *versions, "--file", dockerfile, "--tag", f"{PREFIX}tools", str(HERE / "peers")
    )


def push_base(docker: Docker, address: str) -> str:
    """Push the base to the loopback registry and return its reference there."""
    reference = f"{address}/python:3.11"
    docker.run("tag", f"{PREFIX}base", reference)
    try:
        docker.run("push", reference)
    finally:
        docker.run("image", "rm", reference)
    return reference


@contextmanager
def cleaning(docker: Docker, contenders: Sequence[Contender]) -> Iterator[None]:
    """Leave neither containers nor images nor build cache behind, however the run ends."""
    try:
        yield
    finally:
        for contender in contenders:
            contender.forget()
        docker.remove_ours()
        docker.prune()


def make_contenders(names: Sequence[str], docker: Docker, folder: Path, reference: str) -> list[Contender]:
    made: list[Contender] = []
    for name in names:
        app = App(folder=folder / name / "bookshelf", export=name in PEERS)
        if name in PEERS:
            made.append(Peer(name=name, app=app, docker=docker))
        else:
            stack = reference if name == "registry" else name
            made.append(Ours(name=name, stack=stack, app=app, docker=docker, home=folder / name / "home"))
    return made


def run_all(contenders: Sequence[Contender], docker: Docker, options: argparse.Namespace, folder: Path) -> Results:
    """Run the rounds, each contender in turn and another one first each time, then memory and starts."""
    results = Results(best=options.best)
    rows = set(options.rows)
    for number in range(options.rounds if rows - {"memory", "start"} else 0):
        tell(f"round {number + 1} of {options.rounds}")
        turn = number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            run_round(contender, rows, options.repeats, results)
    if "memory" in rows:
        for contender in contenders:
            run_memory(contender, folder, results)
    if "start" in rows:
        run_starts(contenders, docker, options.repeats, results)
    return results


def listed(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in allowed]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose from {', '.join(allowed)}")
        return text.split(",")

    return parse


def parse_arguments() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everyone = [*PEERS, *STACKS]
    parser.add_argument("--rows", type=listed(list(ROWS)), default=list(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--contenders", type=listed(everyone), default=everyone, help=f"of {','.join(everyone)}")
    parser.add_argument("--rounds", type=int, default=3, help="full rounds (default 3)")
    parser.add_argument("--repeats", type=int, default=3, help="runs per round of what takes no time (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round, one repeat, and of the peers only uv")
    parser.add_argument("--best", action="store_true", help="print the best instead of the median: for a busy machine")
    parser.add_argument("--base", metavar="IMAGE", help="pull this image as the base, instead of making a stand-in")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample to this file")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.repeats = 1
        options.contenders = [name for name in options.contenders if name not in {"pipenv", "uv-cache"}]
    return options


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    docker = find_docker(dict(os.environ))
    docker.remove_ours()
    machine = describe(docker)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deploy-bench"
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        serving = stand_in.registry(folder) if "registry" in options.contenders else nullcontext("")
        with cleaning(docker, []), serving as address:
            prepare_images(docker, options.base, cache)
            reference = push_base(docker, address) if address else ""
            contenders = make_contenders(options.contenders, docker, folder, reference)
            with cleaning(docker, contenders):
                results = run_all(contenders, docker, options, folder)
    machine["load_after"] = round(os.getloadavg()[0], 2)
    print(render_table(results, options.contenders))
    print()
    rounds = "one round" if options.rounds == 1 else f"{options.rounds} rounds"
    print(
        f"{'Best' if options.best else 'Medians'} of {rounds}. "
        + ", ".join(f"{key} {value}" for key, value in machine.items())
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, **asdict(results)}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except measure.CommandFailedError as failure:
        raise SystemExit(f"error: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None

"""Time and memory of builds that are large: a wheel of a gigabyte, an app of 20,000 files, a lock of 300 packages.

    python benchmarks/large.py [--scale 1] [--only wheel] [--json FILE]

Each is built from an empty store on the stack `host`, at a tenth of its size and in full: memory has to stay, and time
has to grow no faster than the bytes. The stack itself is built before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
import synthetic

HOUSE = Path(__file__).parents[1]
LIMIT = 300.0
"""MB."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One build: what it was of, in MB and files, and what it took, in seconds and MB."""

    what: str
    megabytes: float
    files: int
    seconds: float
    again: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the full sizes")
    parser.add_argument("--only", help="a comma-separated choice of: stored, deflated, files, lock")
    parser.add_argument("--json", type=Path, help="write every sample there")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(CASES)
    samples = []
    place = Path(tempfile.mkdtemp(prefix="deploy-bench-large-", dir=os.environ.get("TMPDIR")))
    try:
        seed = make_seed(place)
        print(f"{'':26}{'MB':>8}{'files':>8}{'seconds':>9}{'again':>8}{'memory':>9}")
        for name in chosen:
            for scale in (options.scale / 10, options.scale):
                with CASES[name](place / name, scale) as (what, app, environ):
                    sample = take(what, app, environ, seed, place / "home")
                samples.append(sample)
                print(
                    f"{sample.what:26}{sample.megabytes:8.1f}{sample.files:8}{sample.seconds:8.2f}s"
                    f"{sample.again:7.2f}s{sample.memory:6.0f} MB"
                )
    finally:
        shutil.rmtree(place)
    if options.json:
        options.json.write_text(
            json.dumps({"machine": measure.describe_machine(), "samples": [asdict(each) for each in samples]}, indent=2)
        )
    if worst := max((each.memory for each in samples), default=0.0) > LIMIT:
        sys.exit(f"more than {LIMIT:.0f} MB: {worst}")


def make_seed(place: Path) -> Path:
    """Build an app of nothing, for a store that has the stack."""
    app = synthetic.write_app(place / "empty", {})
    seed = place / "seed"
    measure.run(command(app), cwd=place, environ={**os.environ, "DEPLOY_HOME": str(seed), "PYTHONPATH": str(HOUSE)})
    return seed


def command(app: Path) -> list[str]:
    return [sys.executable, "-m", "deployer", "build", str(app), "-q"]


def take(what: str, app: Path, environ: dict[str, str], seed: Path, home: Path) -> Sample:
    """Build three times: for the time, with one line changed, and for the memory."""
    environ = {**os.environ, **environ, "DEPLOY_HOME": str(home), "PYTHONPATH": str(HOUSE)}

    def empty() -> None:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(seed, home, copy_function=os.link)

    empty()
    first = measure.run(command(app), cwd=app, environ=environ)
    (app / "large" / "line.py").write_text("line = 1\n")
    again = measure.run(command(app), cwd=app, environ=environ)
    (app / "large" / "line.py").unlink()
    size = sum(path.stat().st_size for path in (home / "wheels").rglob("*") if path.is_file())
    files = [path for path in app.rglob("*") if path.is_file()]
    empty()
    memory = measure.measure_memory(command(app), cwd=app, environ=environ, engine=None, log=home.with_suffix(".log"))
    shutil.rmtree(home)
    return Sample(
        what=what,
        megabytes=round((size + sum(path.stat().st_size for path in files)) / 1e6, 1),
        files=len(files),
        seconds=round(first.seconds, 3),
        again=round(again.seconds, 3),
        memory=round(memory.own, 1),
    )


Case = Iterator[tuple[str, Path, dict[str, str]]]


@contextmanager
def one_wheel(place: Path, scale: float, *, deflated: bool) -> Case:
    """One package of a single file."""
    size = int(1000 * scale) * synthetic.MB
    wheel = synthetic.write_wheel(place / "files", "gigantic", {"gigantic/weights.bin": size}, deflated=deflated)
    packages = {"gigantic": wheel}
    app = synthetic.write_app(place / "app", packages)
    with synthetic.serve(place, packages) as environ:
        yield f"a {'deflated' if deflated else 'stored'} wheel, {size // synthetic.MB} MB", app, environ
    shutil.rmtree(place)


@contextmanager
def many_files(place: Path, scale: float) -> Case:
    """An app of many files and no package."""
    count = int(20_000 * scale)
    yield f"an app of {count} files", synthetic.write_app(place / "app", {}, files=count), {}
    shutil.rmtree(place)


@contextmanager
def many_packages(place: Path, scale: float) -> Case:
    """A long lock."""
    count = int(300 * scale)
    packages = {f"small{number:04}": synthetic.small_wheel(place / "files", number) for number in range(count)}
    with synthetic.serve(place, packages) as environ:
        yield f"a lock of {count} packages", synthetic.write_app(place / "app", packages), environ
    shutil.rmtree(place)


CASES: dict[str, Callable[[Path, float], contextmanager]] = {  # type: ignore[type-arg]
    "stored": lambda place, scale: one_wheel(place, scale, deflated=False),
    "deflated": lambda place, scale: one_wheel(place, scale, deflated=True),
    "files": many_files,
    "lock": many_packages,
}


if __name__ == "__main__":
    main()

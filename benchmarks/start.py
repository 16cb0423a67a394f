"""How long `deploy local` takes to the first 200 on a warm cache, beside bare gunicorn in the same environment.

    python benchmarks/start.py [--rounds 10] [--home FOLDER] [--json FILE]

Both run the Procfile's web command with one worker; the clock runs from the start of the command until `/` answers 200.
Making the virtual environment from cached wheels is timed too, with nothing there but the wheels; byte code is none of
it: Python compiles as it imports. Give `--home` a folder on a file system that did not just lose thousands of files:
ext4 looks long for an inode that was not freed a moment ago.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HOUSE = Path(__file__).parents[1]
APPS = ("blasto", "bookshelf")
DEPLOY = (sys.executable, "-m", "deployer", "local")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--home", type=Path, help="a folder for the store; by default a temporary one beside ~/.cache")
    parser.add_argument("--json", type=Path, help="write every sample there")
    options = parser.parse_args()
    (Path.home() / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deploy-bench-start-", dir=Path.home() / ".cache") as scratch:
        samples = {name: measure(name, options.home or Path(scratch), options.rounds) for name in APPS}
    print(f"median of {options.rounds}, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors\n")
    print(f"{'':12}{'gunicorn':>10}{'local':>10}{'ratio':>8}{'more':>10}{'environment':>14}")
    for name, rows in samples.items():
        bare, local, made = (statistics.median(rows[row]) for row in ("gunicorn", "local", "made"))
        more = f"{1000 * (local - bare):.0f} ms"
        print(f"{name:12}{bare:9.3f}s{local:9.3f}s{local / bare:8.2f}{more:>10}{made:13.2f}s")
    if options.json:
        options.json.write_text(json.dumps(samples, indent=2) + "\n")


def measure(name: str, home: Path, rounds: int) -> dict[str, list[float]]:
    """Take the samples of one example, one contender after the other in each round."""
    app = home / name
    shutil.copytree(HOUSE / "examples" / name, app)
    environ = {**os.environ, "DEPLOY_HOME": str(home), "PYTHONPATH": str(HOUSE), "WEB_CONCURRENCY": "1"}
    environ["BOOKSHELF_FOLDER"] = str(home / "shelf")
    environ.pop("VIRTUAL_ENV", None)
    subprocess.run([*DEPLOY, app, "--", "true"], env=environ, check=True, capture_output=True)  # fetches the wheels
    made = [make_environment(app, home, environ) for _ in range(3)]
    venv = subprocess.run(
        [*DEPLOY, app, "--", "python", "-c", "import sys; print(sys.prefix)"],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    procfile = (app / "Procfile").read_text().splitlines()
    web = next(line for line in procfile if line.startswith("web:")).partition(":")[2].split()
    rows: dict[str, list[float]] = {"gunicorn": [], "local": [], "made": made}
    for at in range(rounds + 1):
        port = free_port()
        bare = {**environ, "PORT": str(port), "PYTHONUNBUFFERED": "1", "PATH": f"{venv}/bin:{environ['PATH']}"}
        took = {
            "gunicorn": first_answer([f"{venv}/bin/{web[0]}", *web[1:], "--no-control-socket"], port, bare, app),
            "local": first_answer([*DEPLOY, str(app), "web", "-p", str(port)], port, environ, app),
        }
        for row, seconds in took.items() if at else ():  # the first round compiles
            rows[row].append(seconds)
    return rows


def make_environment(app: Path, home: Path, environ: Mapping[str, str]) -> float:
    """Time a command that does nothing in an environment that has to be made."""
    # Aside rather than away: what ext4 has just freed slows down the next files.
    with contextlib.suppress(FileNotFoundError):
        (home / "environments").rename(home / f"environments-{time.monotonic_ns()}")
    begin = time.perf_counter()
    subprocess.run([*DEPLOY, app, "--", "true"], env=environ, check=True, capture_output=True)
    return time.perf_counter() - begin


def first_answer(command: Sequence[str], port: int, environ: Mapping[str, str], app: Path) -> float:
    """Start a command, and return the seconds until `/` answers 200; it is stopped then."""
    with (app.parent / "log").open("wb") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environ, cwd=app, stdout=log, stderr=log)
        try:
            while not answers(port):
                if process.poll() is not None or time.perf_counter() > begin + 60:
                    sys.exit(f"{' '.join(command)}\n{(app.parent / 'log').read_text()}")
                time.sleep(0.002)
            return time.perf_counter() - begin
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

"""`deploy export`: both programs take the files, read them as they are meant, and start the formation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.command import EXAMPLES, deploy
from tests.support.exports import read_compose, sourced, verify_units
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

NASTY = {
    "DOLLAR": "$HOME ${HOME} $$ $(id)",
    "PERCENT": "100%n %%",
    "QUOTES": """it's "quoted" `so`""",
    "BACKSLASH": r"a\nb \\ \x41 \ ",
    "LINES": "one\ntwo\n\tthree",
    "HASH": "# no comment ; no comment",
    "EMPTY": "",
    "SPACES": "  around  ",
    "LETTERS": "grün \u2028 \U0001f600",
    "YAML": "{a: [b, *c]} !!x & | >",
}

COMMANDS = {
    "web": "gunicorn blasto:APP",
    "shell": """exec python -c "print('$HOME', \\"%s\\" % 1)"; echo \\\\ \\n `date` ${X:-ü}""",
    "semicolon": "echo ; true",
    "options": "-not an option",
    "assigned": "A='b c' python work.py",
}


def write_app(folder: Path, processes: dict[str, str]) -> Path:
    """Copy the example, with other processes."""
    shutil.copytree(EXAMPLES / "blasto", folder)
    (folder / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in processes.items()))
    return folder


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    return write_app(tmp_path / "my app 100% $HOME", COMMANDS)


def test_systemd_reads_nasty_commands_and_paths_as_they_are_meant(tmp_path, home, nasty):
    given = [f"-e{name}={value}" for name, value in NASTY.items()]
    done = deploy("export", "systemd", nasty, *given, "-o", "units", home=home, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out == ""
    units = verify_units(tmp_path / "units")
    run = {name.partition("-1.")[0].rpartition("-")[2]: unit for name, unit in units.items()}
    assert {name: list(unit.argv) for name, unit in run.items()} == {
        "web": ["/usr/bin/env", "gunicorn", "blasto:APP"],
        **{name: ["/usr/bin/env", "bash", "-c", COMMANDS[name]] for name in COMMANDS if name != "web"},
    }
    for name, unit in run.items():
        assert unit.env["PS"] == unit.env["DYNO"] == f"{name}.1"
        assert unit.env["PATH"].startswith(f"{nasty}/.venv/bin:/usr/local/sbin:")
        assert unit.env["PYTHONPATH"] == str(nasty)
        assert unit.settings["WorkingDirectory"] == str(nasty)
    variables = tmp_path / "units" / "my-app-100-home.env"
    assert variables.stat().st_mode & 0o777 == 0o600
    read = sourced(variables)
    assert {name: read[name] for name in NASTY} == NASTY


def test_compose_reads_nasty_values_as_they_are_meant(tmp_path, home, nasty):
    given = [f"-e{name}={value}" for name, value in NASTY.items()]
    done = deploy("export", "compose", nasty, "shell=3", "web=2", *given, home=home, cwd=tmp_path)
    assert done.code == 0, done.err
    services = read_compose(tmp_path / "compose.yaml")
    assert set(services) == set(COMMANDS)  # to name some changes their counts, and drops none
    # `config` prints a compose file again, so each dollar is still two.
    values = {name: value.replace("$$", "$") for name, value in services["web"]["environment"].items()}
    assert values == {**NASTY, "PORT": "8000"}
    assert services["web"]["image"] == "my-app-100-home:latest"
    assert services["web"]["command"] == ["web"]
    assert services["web"]["ports"] == ["127.0.0.1:8000-8001:8000/tcp"]
    assert services["shell"]["scale"] == 3
    assert "PORT" not in services["shell"]["environment"]


def test_files_of_variables_are_copied_for_systemd_and_named_for_compose(tmp_path, home, blasto):
    (blasto / ".env").write_text("export A='from .env'\nPORT=9000\nB=1\n")
    (tmp_path / "prod.env").write_text("B=2\nC=3\n")
    options = ("--env-file", "prod.env", "-e", "C=4", "-o", "out")
    done = deploy("export", "systemd", blasto, *options, home=home, cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "out/blasto.env").read_text() == (
        '# blasto.env of blasto: written by `deploy export systemd`\nA="from .env"\nB="2"\nC="4"\n'
    )
    assert verify_units(tmp_path / "out")["blasto-web-1.service"].env["PORT"] == "9000"
    done = deploy("export", "compose", blasto, *options, home=home, cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"warning: {blasto}/.env:1: releases of compose read quotes" in done.err
    text = (tmp_path / "out/compose.yaml").read_text()
    assert '    env_file:\n      - "../blasto/.env"\n      - "../prod.env"\n' in text
    assert "from .env" not in text
    assert read_compose(tmp_path / "out/compose.yaml")["web"]["environment"] == {
        "A": "from .env",
        "B": "2",
        "C": "4",
        "PORT": "8000",
    }


def test_variables_of_app_json_are_below_all_others(tmp_path, home, blasto):
    described = {
        "A": {"value": "a"},
        "B": "b",
        "C": "c",
        "KEY": {"generator": "secret"},
        "OPTIONAL": {"required": False},
    }
    (blasto / "app.json").write_text(json.dumps({"env": described}))
    (blasto / ".env").write_text("B=2\n")
    for program in ("systemd", "compose"):
        done = deploy("export", program, blasto, "-e", "C=3", "-o", "out", home=home, cwd=tmp_path)
        assert done.code == 0, done.err
        assert "warning: app.json describes KEY, which has no value here; set it in .env or with -e" in done.err
    assert (tmp_path / "out/blasto.env").read_text().endswith('A="a"\nB="2"\nC="3"\n')
    assert read_compose(tmp_path / "out/compose.yaml")["web"]["environment"] == {
        "A": "a",
        "B": "2",
        "C": "3",
        "PORT": "8000",
    }


def test_what_was_written_is_said_and_what_to_do_next(tmp_path, home, blasto):
    done = deploy("export", "systemd", blasto, "-o", "units", home=home, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (
        0,
        "",
        (
            "  wrote  units/blasto.target\n"
            "  wrote  units/blasto-web.target\n"
            "  wrote  units/blasto-web-1.service\n"
            f"warning: {blasto}/.venv does not exist yet; in {blasto} make it with "
            "`PIPENV_VENV_IN_PROJECT=1 pipenv sync`.\n"
            "\n"
            f"Next: systemctl --user link {tmp_path}/units/blasto.target {tmp_path}/units/blasto-*.* "
            "&& systemctl --user enable --now blasto.target\n"
        ),
    )
    there = tmp_path / ".config/systemd/user"
    done = deploy("export", "systemd", blasto, "--venv", "v", "-o", there, home=home, cwd=tmp_path)
    assert done.err.endswith(
        f"warning: {tmp_path}/v does not exist yet; the units need it.\n"
        "\n"
        "Next: systemctl --user daemon-reload && systemctl --user enable --now blasto.target\n"
    )
    done = deploy("export", "compose", blasto, "-o", "there", home=home, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (
        0,
        "",
        (
            "  wrote  there/compose.yaml\n"
            "\n"
            f"Next: deploy build {blasto} --to docker && docker compose -f there/compose.yaml up -d\n"
        ),
    )


def test_a_smaller_formation_names_the_units_it_left(tmp_path, home, blasto):
    for count in (2, 1):
        done = deploy("export", "systemd", blasto, f"web={count}", "-o", "units", home=home, cwd=tmp_path)
    assert (
        f"warning: {tmp_path}/units/blasto-web-2.service is of an earlier export, and not part of the formation "
        "any more; remove it.\n"
    ) in done.err


@pytest.mark.parametrize("program", ["systemd", "compose"])
def test_standard_output_has_what_files_would_have(tmp_path, home, blasto, program):
    first = deploy("export", program, blasto, "web=2", "-o", "-", home=home, cwd=tmp_path)
    again = deploy(
        "export",
        program,
        blasto,
        "web=2",
        "-o",
        "-",
        home=home,
        cwd=tmp_path,
        env={"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "4711"},
    )
    assert (first.code, first.err) == (0, "")
    assert first.out == again.out
    assert list(tmp_path.iterdir()) == [blasto]
    deploy("export", program, blasto, "web=2", "-o", "out", home=home, cwd=tmp_path)
    for path in (tmp_path / "out").iterdir():
        assert path.read_text() in first.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["systemd", "wev"],
            ("error: this folder has no process type 'wev'\n\nIt has web.\n\nhint: did you mean 'web'?\n"),
        ),
        (
            ["compose", "blasto:1.0"],
            (
                "error: blasto:1.0 is an image, and process types are read from an app's folder\n\n"
                "hint: name the folder; `deploy export compose . --image blasto:1.0` uses the image.\n"
            ),
        ),
        (
            ["compose", "web=3", "-p", "65534"],
            (
                "error: port 65534 leaves no room for 3 web processes\n\n"
                "web.1 gets that port, each further one the next, and 65535 is the last.\n\n"
                "hint: choose one up to 65533.\n"
            ),
        ),
        (
            ["compose", "-e", "PORT=http"],
            (
                "error: PORT is 'http', which is not the number of a port\n\n"
                "hint: correct it where it is set (-e, an env file, .env, app.json or the shell), or leave it out.\n"
            ),
        ),
    ],
)
def test_wrong_usage(home, blasto, arguments, message):
    done = deploy("export", *arguments, home=home, cwd=blasto)
    assert (done.code, done.out, done.err) == (2, "", message)


def answer_of(port: int, seconds: float = 120) -> int:
    import requests

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=30).status_code
        except requests.ConnectionError:
            time.sleep(0.1)
    return 0


def test_the_units_commands_serve_the_app(tmp_path, home, blasto):
    """Do what systemd would do: read the unit with systemd, and start the command in its folder."""
    import sys

    venv = Path(sys.prefix)
    port = free_port()
    arguments = ("--venv", venv, "-p", port, "-e", "GREETING=hello")
    done = deploy("export", "systemd", blasto, *arguments, "-o", tmp_path / "units", home=home)
    assert done.code == 0, done.err
    unit = verify_units(tmp_path / "units")["blasto-web-1.service"]
    (tmp_path / "run").mkdir()
    env = {**unit.env, "XDG_RUNTIME_DIR": str(tmp_path / "run"), **sourced(tmp_path / "units/blasto.env")}
    process = subprocess.Popen(unit.argv, env=env, cwd=unit.settings["WorkingDirectory"], stderr=subprocess.DEVNULL)
    try:
        assert answer_of(port) == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.engine
def test_compose_starts_the_formation(tmp_path, home, blasto, engine):
    if shutil.which("docker-compose") is None:
        missing("docker-compose is not installed; install it to run this test")
    image = f"export-test-{os.getpid()}:1"
    assert deploy("build", blasto, "-t", image, "--to", "docker", "-q", home=home).code == 0
    port = free_port()
    arguments = ("web=2", "--image", image, "-p", port, "-o", tmp_path / "up")
    done = deploy("export", "compose", blasto, *arguments, home=home)
    assert done.code == 0, done.err
    compose = ["docker-compose", "-p", f"export-test-{os.getpid()}", "-f", tmp_path / "up/compose.yaml"]
    environ = {**os.environ, "DOCKER_HOST": engine}
    try:
        subprocess.run([*compose, "up", "-d"], env=environ, capture_output=True, check=True)
        assert [answer_of(port), answer_of(port + 1)] == [200, 200]
    finally:
        subprocess.run([*compose, "down", "-t", "30"], env=environ, capture_output=True, check=True)
        subprocess.run(["docker", "rmi", image], env=environ, capture_output=True, check=True)

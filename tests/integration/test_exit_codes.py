"""The whole messages and exit codes of `build` and `lock` in the situations that people meet.

Fetching and building packages has a module of its own, `test_exit_codes_packages`; what a full disk, a signal or a
lack of permission does, `test_exit_codes_machine`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.command import EXAMPLES, ROOT, Done, deploy
from tests.support.engines import Engine
from tests.support.ports import free_port

APPS = ROOT / "tests" / "apps"


def told(done: Done) -> tuple[int, str, str]:
    """The exit code, standard output and the error without its last line's end."""
    return done.code, done.out, done.err.removesuffix("\n")


# 1: a bug


def test_a_bug_is_not_taken_for_a_fault_of_the_app(tmp_path, home):
    """A tool with a broken module stands for any bug."""
    for package in ("buildpack", "deployer"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "buildpack" / "steps" / "assembly.py"
    module.write_text(module.read_text() + '\nraise RuntimeError("broken on purpose")\n')
    done = deploy("build", EXAMPLES / "blasto", home=home, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Traceback (most recent call last):\n")
    assert done.err.endswith(
        "RuntimeError: broken on purpose\n\n"
        "error: this is a bug in deploy, not in your app\n\n"
        "hint: please report it with the lines above; deploy changed none of your files.\n"
    )


# 2: wrong usage

USAGE = {
    "a command misspelt": (
        ("biuld",),
        "error: no such command: biuld\n\nhint: did you mean `deploy build`?",
    ),
    "a command that is like no other": (
        ("xyz",),
        "error: no such command: xyz\n\nhint: `deploy --help` lists the commands.",
    ),
    "an option misspelt": (
        ("build", "--stak", "host"),
        "error: no such option: --stak\n\nhint: did you mean --stack?",
    ),
    "an option that is like no other": (
        ("build", "--zzz"),
        "error: no such option: --zzz\n\nhint: `deploy build --help` shows the usage.",
    ),
    "an option without its value": (
        ("lock", "--no-pin=yes"),
        "error: option '--no-pin' does not take a value\n\nhint: `deploy lock --help` shows the usage.",
    ),
    "two apps": (
        ("build", "one", "two"),
        "error: got unexpected extra argument (two)\n\nhint: `deploy build --help` shows the usage.",
    ),
    "no such folder": (
        ("build", "nowhere"),
        (
            "error: there is no folder nowhere\n\n"
            "deploy builds the app in the folder that you name, else in the current one.\n\n"
            "hint: check the path."
        ),
    ),
    "no such folder to lock": (
        ("lock", "nowhere"),
        (
            "error: there is no folder nowhere\n\n"
            "deploy builds the app in the folder that you name, else in the current one.\n\n"
            "hint: check the path."
        ),
    ),
    "a file in place of a folder": (
        ("build", "examples/blasto/Procfile"),
        (
            "error: examples/blasto/Procfile is not a folder\n\n"
            "deploy needs the folder that holds the app's Pipfile.lock.\n\n"
            "hint: name the folder instead of a file in it."
        ),
    ),
    "no destination": (
        ("build", "examples/blasto", "--to", "dokcer"),
        "error: --to 'dokcer' is not a destination\n\nhint: use docker, registry, oci:DIR or archive:FILE.",
    ),
    "no image name": (
        ("build", "examples/blasto", "-t", "Blasto:1"),
        (
            "error: 'Blasto:1' is not an image reference\n\nRepositories are written in lower case.\n\n"
            "hint: write 'blasto:1'."
        ),
    ),
    "no label": (
        ("build", "examples/blasto", "--label", "team"),
        "error: --label 'team' is not NAME=value\n\nhint: write `--label org.opencontainers.image.version=1.0`.",
    ),
    "a label that is not text": (
        ("build", "examples/blasto", "--label", "team=caf\udce9"),
        (
            "error: --label 'team=caf\\udce9' is not UTF-8\n\nLabels are written into the image as UTF-8.\n\n"
            "hint: write it in UTF-8; `locale` shows the encoding of this terminal."
        ),
    ),
    "a label of ours": (
        ("build", "examples/blasto", "--label", "dev.deploy.lock=sha256:0"),
        (
            "error: --label dev.deploy.lock: labels that begin with `dev.deploy.` are set by the build\n\n"
            "hint: choose a prefix of your own, such as com.example."
        ),
    ),
    "no platform": (
        ("build", "examples/blasto", "--platform", "amd64"),
        (
            "error: --platform cannot be 'amd64'\n\nA platform is `linux/amd64`, `linux/arm64` or the like; "
            "commas separate several.\n\n"
            "hint: give --platform another value."
        ),
    ),
}


@pytest.mark.parametrize("situation", USAGE)
def test_wrong_usage(home, situation):
    arguments, message = USAGE[situation]
    assert told(deploy(*arguments, home=home)) == (2, "", message)


def test_a_time_that_is_none(home):
    done = deploy("build", EXAMPLES / "blasto", home=home, env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert told(done) == (
        2,
        "",
        (
            "error: SOURCE_DATE_EPOCH is not a number of seconds: 'yesterday'\n\n"
            "hint: set it to the commit's time, `git log -1 --format=%ct`, or unset it."
        ),
    )


def test_a_layout_is_not_written_among_other_files(home, blasto):
    done = deploy("build", blasto, "-q", "--to", f"oci:{blasto}", home=home)
    assert told(done) == (
        2,
        "",
        (
            f"error: {blasto} is neither empty nor an OCI layout\n\n"
            "An image would be mixed with the files there.\n\n"
            "hint: name a new folder, an empty one, or an OCI layout to add to."
        ),
    )


# 10: a file to fix

FOLDERS = {
    "stale_lock": (
        "error: Pipfile.lock does not match Pipfile\n\n"
        "Pipfile asks for redis >=6; Pipfile.lock pins redis 5.0.1 (Pipfile:9).\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again."
    ),
    "pipfile_without_lock": (
        "error: there is a Pipfile, but no Pipfile.lock\n\n"
        "Pipfile lists what the app asks for; only Pipfile.lock lists exactly what to install.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock (check that .gitignore does not name it), and build again."
    ),
    "procfile_without_colon": (
        "error: Procfile has a line that cannot be read\n\n"
        "Procfile:3:4: a colon is missing after `web`\n"
        "    web gunicorn blasto:APP\n"
        "       ^\n\n"
        "hint: a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, "
        "`-` and `_`, and each name is there once."
    ),
    "everything_wrong": (
        "error: deploy.toml has an unknown key `naem`\n\n"
        "deploy.toml:1: the keys are `name`, `platform`, `stack`, `[build.env]`.\n\n"
        "hint: did you mean `name`?\n\n"
        "error: Pipfile.lock and poetry.lock say what to install\n\n"
        "  - Pipfile.lock\n"
        "  - poetry.lock\n\n"
        "They belong to different tools, and deploy cannot know which one counts.\n\n"
        "hint: keep Pipfile.lock and remove poetry.lock.\n\n"
        "error: Pipfile.lock has an entry that cannot be used\n\n"
        "  - Pipfile.lock:19: flask has no hashes\n\n"
        "Each entry needs a pinned version and its sha256 hashes, or a commit, or a local path.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again.\n\n"
        "error: the Python version in .python-version:1 cannot be read\n\n"
        "It says `three`. A version is `3.13`, or with a patch level `3.13.7`.\n\n"
        "hint: write `3.13` there; deploy then takes the newest patch level.\n\n"
        "error: Procfile has a line that cannot be read\n\n"
        "Procfile:1:4: a colon is missing after `web`\n"
        "    web gunicorn\n"
        "       ^\n\n"
        "hint: a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, "
        "`-` and `_`, and each name is there once."
    ),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_to_fix(home, folder):
    assert told(deploy("build", APPS / folder, home=home)) == (
        10,
        "",
        FOLDERS[folder].replace("`deploy lock`", f"`deploy lock {APPS / folder}`"),
    )


def test_a_folder_without_a_pipfile_is_not_locked(home, tmp_path):
    assert told(deploy("lock", tmp_path, home=home)) == (
        10,
        "",
        (
            f"error: there is no Pipfile in {tmp_path}\n\n"
            "pipenv locks the packages that a Pipfile lists.\n\n"
            f"hint: write one, with `flask` and `gunicorn` under [packages], and run the command again."
        ),
    )


def test_an_invalid_stack_is_reported_with_the_file_that_names_it(home, blasto):
    (blasto / "deploy.toml").write_text('stack = "Python:3.12"\n')
    assert told(deploy("build", blasto, home=home)) == (
        10,
        "",
        (
            "error: 'Python:3.12' is not an image reference\n\n"
            "deploy.toml:1 names it as the stack. Repositories are written in lower case.\n\n"
            "hint: write 'python:3.12'."
        ),
    )


# 30: a stack or registry


def test_the_host_stack_elsewhere_than_on_linux_names_the_way_out(home, blasto):
    """The platform is faked where Python itself says it; the message of each system has a unit test."""
    (blasto / ".python-version").write_text("3.12\n")
    script = "import socket, subprocess, sys; sys.platform = 'darwin'; from deployer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "build", str(blasto)],
        env={"DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        30,
        "",
        (
            "error: the host stack needs Linux, and this is macOS\n\n"
            "It puts this machine's own Python and shared libraries into the image, and images run on Linux.\n\n"
            'hint: take a base image from a registry: `--stack python:3.12-slim`, or `stack = "python:3.12-slim"` '
            "in deploy.toml.\n"
        ),
    )


def test_the_host_stack_of_another_platform(home, blasto):
    (blasto / ".python-version").write_text("3.12\n")
    assert told(deploy("build", blasto, "--platform", "linux/s390x", home=home)) == (
        30,
        "",
        (
            "error: the host stack cannot make an image for linux/s390x: this machine is linux/amd64\n\n"
            "It puts this machine's own Python and shared libraries into the image.\n\n"
            "hint: take a base image from a registry: "
            "`--stack python:3.12-slim --platform linux/s390x`."
        ),
    )


def test_a_registry_that_does_not_answer(home, blasto):
    host = f"127.0.0.1:{free_port()}"
    assert told(deploy("build", blasto, "--stack", f"{host}/python:3.11-slim", home=home)) == (
        30,
        "",
        (
            f"error: the registry {host} cannot be reached\n\n"
            "It refused the connection.\n\n"
            "hint: check host and port, and that the registry is running."
        ),
    )


def test_the_default_stack_is_named_if_it_is_not_available(home, blasto):
    (blasto / "deploy.toml").unlink()
    (blasto / ".python-version").write_text("3.13\n")
    nowhere = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}", "NO_PROXY": ""}
    code, out, message = told(deploy("build", blasto, home=home, env=nowhere))
    assert (code, out) == (30, "")
    what, why, hint = message.split("\n\n")
    assert what == "error: the registry registry-1.docker.io cannot be reached"
    assert why.startswith(
        "The app names no stack, so the build uses python:3.13-slim from Docker Hub. The proxy cannot be"
    )
    assert hint.endswith(" `--stack host` takes this machine's Python and needs no registry.")


@pytest.mark.registry
def test_a_stack_that_the_registry_does_not_have(home, blasto, registry):
    (blasto / "deploy.toml").write_text(f'stack = "{registry}/no/such:1"\n')
    assert told(deploy("build", blasto, home=home)) == (
        30,
        "",
        (
            f"error: {registry}/no/such:1 does not exist\n\n"
            f"GET http://{registry}/v2/no/such/manifests/1 answered 404: MANIFEST_UNKNOWN: manifest unknown.\n\n"
            "hint: check the spelling of the name and of the tag."
        ),
    )


def test_a_stack_on_disk_that_is_not_there(home, blasto):
    assert told(deploy("build", blasto, "--stack", "oci:nowhere", home=home, cwd=blasto)) == (
        30,
        "",
        (
            "error: oci:nowhere cannot be read\n\nThere is no such file or folder.\n\n"
            "hint: check the path and its permissions."
        ),
    )


# 40: engines


def test_no_engine(home, tmp_path):
    host = f"unix://{tmp_path}/docker.sock"
    done = deploy("build", EXAMPLES / "blasto", "-q", "--to", "docker", home=home, env={"DOCKER_HOST": host})
    assert told(done) == (
        40,
        "",
        (
            f"error: the container engine at {host} is not running\n\n"
            "There is no socket at this path.\n\n"
            "hint: start it, or set DOCKER_HOST to another one; `--to archive:FILE` needs no engine."
        ),
    )


REFUSALS = {
    "invalid diffID for layer 2": (
        "error: the container engine at {host} refused the image\n\n"
        "It said: invalid diffID for layer 2\n\n"
        "hint: see the engine's own log; `--to archive:FILE` keeps the image for a closer look."
    ),
    "write /var/lib/docker/tmp/x: no space left on device": (
        "error: the disk of the container engine at {host} is full\n\n"
        "It said: write /var/lib/docker/tmp/x: no space left on device\n\n"
        "hint: make room with `docker system prune`, and build again: what is built already is kept."
    ),
}


@pytest.mark.parametrize("said", REFUSALS)
def test_an_engine_that_refuses(home, tmp_path, said):
    engine = Engine(tmp_path / "engine.sock")
    engine.load = lambda content: said  # type: ignore[method-assign]
    try:
        done = deploy("build", EXAMPLES / "blasto", "-q", "--to", "docker", home=home, env={"DOCKER_HOST": engine.host})
    finally:
        engine.stop()
    assert told(done) == (40, "", REFUSALS[said].format(host=engine.host))


# 141: the reader went away


@pytest.mark.parametrize("arguments", [("build", "examples/blasto", "--json"), ("--help",), ("build", "--help")])
def test_a_reader_that_goes_away_is_not_a_bug(home, arguments):
    prefix = ("bash", "-o", "pipefail", "-c", '(sleep 0.2; "$@") | true', "bash")
    done = deploy(*arguments, home=home, prefix=prefix)
    assert (done.code, done.err) == (141, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(home, closed):
    """The first opened file must not get the number of a standard stream, or messages would be written into it."""
    done = deploy("build", EXAMPLES / "blasto", "-q", home=home, prefix=("sh", "-c", f'"$@" {closed}', "sh"))
    assert (done.code, done.err) == (0, "")
    done = deploy("build", "nowhere", home=home, prefix=("sh", "-c", f'"$@" {closed}', "sh"))
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err

"""`deploy ci`: its steps, how each of them fails, what it tells people and machines, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployer.settings.app_variables import place_of_secrets
from tests.support import tiny
from tests.support.command import EXAMPLES, Done, deploy, snapshot
from tests.support.containers import Host
from tests.support.index import make_wheel, serving
from tests.support.ports import free_port
from tests.support.running import Running
from tests.support.tiny import with_stack, write_app

PIPELINE = {
    "GITHUB_TOKEN": "ghs_planted-token",
    "CI_JOB_TOKEN": "planted-job-token",
    "DEPLOY_REGISTRY_USER": "planted-user",
    "DEPLOY_REGISTRY_PASSWORD": "planted-password",
}
"""Variables of a pipeline that must not reach the app."""

WATCHED = """\
import os
import pathlib

import blasto

def test_the_folder_is_the_app_s():
    assert pathlib.Path(blasto.__file__).parents[1] == pathlib.Path.cwd()

def test_nothing_of_the_pipeline_is_here():
    assert "planted" not in repr(dict(os.environ))
    assert os.environ["CI"] == "true"
    assert os.environ["GIVEN"] == "given"
    assert os.environ["FROM_APP_JSON"] == "given there"
"""
CONFINED = """
def test_a_container_has_few_privileges():
    status = pathlib.Path("/proc/self/status").read_text()
    assert "CapBnd:\\t0000000000000000\\n" in status
    assert "NoNewPrivs:\\t1\\n" in status
    (limit,) = pathlib.Path("/sys/fs/cgroup").glob("**/pids.max")
    assert limit.read_text() == "4096\\n"
"""


@pytest.fixture(scope="module")
def ready(home: Path) -> Path:
    """A store in which blasto was built once."""
    assert deploy("build", EXAMPLES / "blasto", "-q", home=home).code == 0
    return home


WEB = "python -m http.server $PORT"


@pytest.fixture
def small(seed: Path, tmp_path: Path) -> Path:
    """An app without packages, whose environment and start cost nothing, under a name that no other test's app has."""
    app = write_app(tmp_path / "small", {})
    rename(app)
    (app / "Procfile").write_text(f"web: {WEB}\n")
    return app


@pytest.fixture(scope="module")
def stacked(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the stack of the small apps."""
    return with_stack(seed, tmp_path_factory.mktemp("stacked") / "home")


def write_app_json(app: Path, test: str, **scripts: str) -> None:
    environment = {"scripts": {"test": test, **scripts}, "env": {"FROM_APP_JSON": "given there"}}
    (app / "app.json").write_text(json.dumps({"environments": {"test": environment}}))


def statuses(report: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    steps = report["steps"]
    assert isinstance(steps, list)
    return {step["name"]: (step["status"], step["exit_code"]) for step in steps}


@pytest.fixture(params=["local", "docker"])
def place(request: pytest.FixtureRequest) -> str:
    """Give each place that can try out an image."""
    if request.param == "docker":
        request.getfixturevalue("engine")
    return str(request.param)


def rename(app: Path) -> str:
    """Give an app a name that no other test's has."""
    name = f"citest{uuid.uuid4().hex}"
    (app / "deploy.toml").write_text(f'name = "{name}"\nstack = "host"\n')
    return name


def test_all_steps_pass_and_leave_nothing(
    place: str, blasto: Path, ready: Path, request: pytest.FixtureRequest
) -> None:
    name = rename(blasto)
    (blasto / "tests" / "test_watched.py").write_text(WATCHED + CONFINED * (place == "docker"))
    (blasto / ".slugignore").write_text("/tests\n")  # the tests see it all the same
    write_app_json(blasto, "pytest -q", **{"test-setup": 'echo "set up with $(printf %s "$KEY" | sha256sum)"'})
    described = json.loads((blasto / "app.json").read_text())
    (blasto / "app.json").write_text(json.dumps({**described, "env": {"KEY": {"generator": "secret"}}}))
    before = snapshot(blasto)
    options = ["--engine", place, "-e", "GIVEN=given", "--health", "/static/style.css", "--json"]
    done = deploy("ci", blasto, *options, home=ready, env=PIPELINE)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert statuses(report) == {
        "check": ("passed", 0),
        "build": ("passed", 0),
        "test": ("passed", 0),
        "boot": ("passed", 0),
        "push": ("skipped", None),
    }
    assert report["schema"] == 1
    assert report["digest"].startswith("sha256:")
    assert (report["requests"], report["bytes_sent"], report["bytes_received"]) == (0, 0, 0)
    key = (place_of_secrets(blasto, {"DEPLOY_HOME": str(ready)}) / "KEY").read_text()
    assert f"set up with {hashlib.sha256(key.encode()).hexdigest()} " in done.err
    assert key not in done.err + done.out
    assert snapshot(blasto) == before, "nothing is written into the app's folder"
    assert f"{6 if place == 'docker' else 5} passed" in done.err
    reasons = {step["name"]: step["reason"] for step in report["steps"]}
    where = "Docker" if place == "docker" else "a virtual environment on this machine"
    assert f"in {where}" in reasons["test"]
    assert reasons["boot"].startswith("web answered 200 after ")
    assert reasons["push"] == "--push is not given"
    assert "planted" not in done.err + done.out
    # The tested image is the built one, without anything of the tests.
    built = deploy("build", blasto, "--json", home=ready).report
    assert built["digest"] == report["digest"]
    assert list((ready / "trials").iterdir()) == [] if place == "local" else True
    if place == "docker":
        assert Host(address=request.getfixturevalue("engine"), product="docker").everything(name) == set()


def with_release(app: Path, command: str) -> None:
    (app / "Procfile").write_text(f"web: {WEB}\nrelease: {command}\n")


def test_the_release_process_runs_before_the_boot_with_the_variables_of_the_tests(
    place: str, small: Path, stacked: Path
) -> None:
    write_app_json(small, "true")
    with_release(small, 'echo "migrates $FROM_APP_JSON as $PS"')
    done = deploy("ci", small, "--engine", place, "--release", "--json", home=stacked)
    assert done.code == 0, done.err
    steps = json.loads(done.out)["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [
        ("check", "passed"),
        ("build", "passed"),
        ("test", "passed"),
        ("release", "passed"),
        ("boot", "passed"),
        ("push", "skipped"),
    ]
    assert "migrates given there as release.1\n" in done.err
    assert "is not run" not in done.err


def test_a_release_process_that_fails_is_50_and_web_is_not_started(small: Path, stacked: Path) -> None:
    with_release(small, "echo no database; exit 4")
    done = deploy("ci", small, "--engine", "local", "--release", "--json", home=stacked)
    assert done.code == 50
    report = json.loads(done.out)
    assert statuses(report)["release"] == ("failed", 50)
    assert statuses(report)["boot"] == ("skipped", None)
    assert report["error"]["why"].startswith("`echo no database; exit 4` exited with 4, in a virtual environment")
    assert f"`deploy local {small} release`" in report["error"]["hint"]


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (b"[[ $PS == release.* ]] && echo no first line, exit 4\n", 4, "no first line, exit 4\n"),
        (b"#!/no/such/shell\n", 127, "error: ./migrate: its interpreter is missing\n"),
        (b"\x7fELF\0", 126, "error: ./migrate: exec format error\n"),
        (None, 127, "error: ./migrate: no such file or directory\n"),
    ],
)
def test_a_release_process_starts_as_in_the_image_without_an_engine(
    small: Path, stacked: Path, content: bytes | None, code: int, text: str
) -> None:
    """A script without ``#!`` runs under bash, and what cannot start ends the step in words."""
    with_release(small, "./migrate")
    if content is not None:
        (small / "migrate").write_bytes(content + (b"exit 4\n" if code == 4 else b""))
        (small / "migrate").chmod(0o755)
    done = deploy("ci", small, "--engine", "local", "--no-test", "--release", "--json", home=stacked)
    assert done.code == 50, done.err
    assert text in done.err
    assert json.loads(done.out)["error"]["why"].startswith(f"`./migrate` exited with {code}, in a virtual environment")


PROFILED = """\
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    start_response("200 OK" if os.environ.get("SECRET") == "from .profile" else "500 Error", [])
    return [b""]

assert os.environ["FORWARDED_ALLOW_IPS"] == "*", os.environ
assert os.environ["GUNICORN_CMD_ARGS"] == "--access-logfile -", os.environ
make_server("", int(os.environ["PORT"]), app).serve_forever()
"""


def test_processes_start_as_in_the_image_with_profile_and_behind_a_router(
    place: str, seed: Path, tmp_path: Path
) -> None:
    app, home = write_app(tmp_path / "tiny", {}), with_stack(seed, tmp_path / "home")
    (app / ".profile").write_text('export SECRET="from .profile"\n')
    (app / "serve.py").write_text(PROFILED)
    (app / "Procfile").write_text('web: python serve.py\nrelease: echo "release has it $SECRET"\n')
    test = 'echo "test has it $SECRET"'
    done = deploy("ci", app, "--engine", place, "--test", test, "--release", "--health", "/", home=home)
    assert done.code == 0, done.err
    assert "\ntest has it from .profile\n" in done.err
    assert "\nrelease has it from .profile\n" in done.err


def test_a_release_process_that_is_not_run_is_named_with_what_runs_it(small: Path, stacked: Path) -> None:
    with_release(small, "true")
    done = deploy("ci", small, "--engine", "local", home=stacked)
    assert done.code == 0, done.err
    assert f"release is not run; `deploy ci {small} --release` runs it before the boot\n" in done.err
    (small / "Procfile").write_text(f"web: {WEB}\n")
    done = deploy("ci", small, "--engine", "local", "--release", home=stacked)
    assert done.code == 2
    assert "error: --release has nothing to run\n" in done.err


def test_tests_that_nothing_runs_are_reported_and_auto_runs_them(blasto: Path, ready: Path) -> None:
    rename(blasto)
    (blasto / "tests").mkdir(exist_ok=True)
    done = deploy("ci", blasto, "--engine", "local", "--json", home=ready)
    assert done.code == 0, done.err
    told = "the app has a folder tests/ and locks pytest, but no command runs its tests; use `--test auto`, or name a "
    assert [text for text in json.loads(done.out)["warnings"] if text.startswith(told)]
    done = deploy("ci", blasto, "--engine", "local", "--test", "auto", "--json", home=ready)
    assert done.code == 0, done.err
    assert statuses(json.loads(done.out))["test"] == ("passed", 0)
    assert "--- test: pytest\n" in done.err
    assert told not in done.err


def test_what_the_tests_wrote_is_collected_and_services_are_for_them_alone(
    place: str, small: Path, stacked: Path, tmp_path: Path
) -> None:
    write_app_json(small, 'mkdir -p out && echo "$DATABASE_URL" > out/url && ln -s /etc/passwd out/link; exit 3')
    with_release(small, "true")
    (small / "Procfile").write_text(f'web: test -z "$DATABASE_URL" && exec {WEB}\n')
    reports = tmp_path / "reports"
    options = ["--engine", place, "--service-env", "DATABASE_URL=here", "--collect", f"out={reports}"]
    done = deploy("ci", small, *options, "--collect", f"nothing={reports}", home=stacked)
    assert done.code == 60, done.err
    assert (reports / "out" / "url").read_text() == "here\n"
    assert [path.name for path in (reports / "out").iterdir()] == ["url"]
    assert f"collected out into {reports}: 1 file, 5 B\n" in done.err
    assert "nothing to collect at nothing: the tests wrote no file there\n" in done.err
    write_app_json(small, "true")
    done = deploy("ci", small, *options[:4], home=stacked)
    assert done.code == 0, done.err


def test_tests_and_web_join_a_network_of_the_engine(engine: str, small: Path, stacked: Path) -> None:
    write_app_json(small, 'test "$(ls /sys/class/net)" = lo')
    done = deploy("ci", small, "--engine", "docker", "--network", "none", home=stacked)
    assert done.code == 0, done.err
    done = deploy("ci", small, "--engine", "docker", home=stacked)
    assert done.code == 60
    done = deploy("ci", small, "--engine", "local", "--network", "none", home=stacked)
    assert done.code == 40
    assert "error: --network needs a container engine\n" in done.err


def test_failing_tests_are_60(place: str, small: Path, stacked: Path) -> None:
    (small / "app.json").write_text("{")  # no more than a warning, since --test takes the place of its script
    done = deploy("ci", small, "--engine", place, "--test", "echo about to fail; exit 3", "--json", home=stacked)
    assert done.code == 60
    assert "warning: app.json is not valid JSON" in done.err
    assert statuses(json.loads(done.out)) == {
        "check": ("passed", 0),
        "build": ("passed", 0),
        "test": ("failed", 60),
        "boot": ("skipped", None),
        "push": ("skipped", None),
    }
    assert "about to fail\nerror: the app's tests failed\n\n`echo about to fail; exit 3` exited with 3, in " in done.err


def test_app_json_requires_a_variable_and_has_a_secret_made(small: Path, stacked: Path) -> None:
    env = {"DATABASE_URL": {"required": True}, "SECRET_KEY": {"generator": "secret"}}
    (small / "app.json").write_text(json.dumps({"env": env}))
    test = 'echo "secret=$SECRET_KEY url=$DATABASE_URL"; exit 3'
    done = deploy("ci", small, "--engine", "local", "--test", test, home=stacked)
    assert done.code == 60, "tests often need less than the app"
    assert "warning: app.json requires DATABASE_URL, which has no value here; set it with -e or under " in done.err
    made = re.search(r"secret=([0-9a-f]{64}) url=\n", done.err)
    assert made is not None, done.err
    told = deploy("local", small, "--", "sh", "-c", "echo $SECRET_KEY", home=stacked)
    assert told.out == f"{made[1]}\n", "all commands have the same secret"
    done = deploy("run", small, home=stacked, env={"DOCKER_HOST": "unix:///nowhere"})
    assert done.code == 10
    assert "error: app.json requires DATABASE_URL\n" in done.err


def test_a_test_command_that_is_not_there(small: Path, stacked: Path) -> None:
    done = deploy("ci", small, "--engine", "local", "--test", "pytset -q", home=stacked)
    assert done.code == 60
    assert "error: a command of the tests was not found\n\n`pytset -q` exited with 127, in " in done.err
    write_app_json(small, "pipenv run pytest")
    done = deploy("ci", small, "--engine", "local", home=stacked)
    assert done.code == 10
    assert "error: `pipenv run` does not work in the image\n\n" in done.err
    assert "hint: write `pytest` as environments.test.scripts.test in app.json.\n" in done.err
    assert re.search(r"\nbuild +skipped", done.err), "before anything is built"


def test_a_set_up_that_fails_is_reported_with_the_tests(place: str, small: Path, stacked: Path) -> None:
    write_app_json(small, "echo never", **{"test-setup": "exit 4"})
    done = deploy("ci", small, "--engine", place, home=stacked)
    assert done.code == 60
    assert "\nnever\n" not in done.err
    assert "error: the app's tests failed\n\n`exit 4 && echo never` exited with 4, in " in done.err


def test_a_web_process_that_ends_is_50(place: str, small: Path, stacked: Path) -> None:
    (small / "Procfile").write_text("web: echo '##[add-mask]about to end'; exit 9\n")
    done = deploy("ci", small, "--engine", place, "--json", home=stacked)
    assert done.code == 50, done.err
    report = json.loads(done.out)
    assert statuses(report)["boot"] == ("failed", 50)
    assert report["error"]["what"] == "web.1 ended before it answered: it exited with 9"
    assert "From its log:\n  ##[add-mask]about to end" in report["error"]["why"]
    assert "##[" not in done.out  # a pipeline's log may show it


def test_a_web_process_that_listens_nowhere_is_50(small: Path, stacked: Path) -> None:
    (small / "Procfile").write_text("web: sleep 1000\n")
    done = deploy("ci", small, "--engine", "local", "--boot-timeout", "1", "--json", home=stacked)
    assert done.code == 50, done.err
    error = json.loads(done.out)["error"]
    assert (error["what"], error["why"]) == ("web.1 did not answer within 1 s", "It does not listen on any port.")


@pytest.mark.parametrize("engine", ["local", "docker"])  # nothing asks the engine before the check has passed
def test_a_port_that_is_not_a_port_fails_the_check(engine: str, small: Path, stacked: Path) -> None:
    done = deploy("ci", small, "--engine", engine, "-e", "PORT=abc", "--json", home=stacked)
    assert done.code == 2, done.err
    report = json.loads(done.out)
    assert statuses(report)["check"] == ("failed", 2)
    assert report["error"]["what"] == "PORT is 'abc', which is not the number of a port"


def boot(app: Path, home: Path, *options: str) -> Done:
    """Boot with ever more time, until the web process listened before the end: a busy machine may start it late."""
    for seconds in ("2", "8", "32", "128"):
        done = deploy("ci", app, "--boot-timeout", seconds, "--json", *options, home=home)
        if "It does not listen on any port" not in done.out + done.err:
            break
    return done


def test_a_web_process_that_only_its_container_reaches_is_50(small: Path, stacked: Path, engine: str) -> None:
    (small / "Procfile").write_text("web: exec python -m http.server --bind 127.0.0.1 $PORT\n")
    done = boot(small, stacked, "--engine", "docker")
    assert done.code == 50, done.err
    told = "It listens on 127.0.0.1:8000, which can be reached only from inside its container."
    assert json.loads(done.out)["error"]["why"].startswith(told)


def test_a_health_path_wants_success(small: Path, stacked: Path) -> None:
    (small / "Procfile").write_text("web: exec python -m http.server $PORT\n")
    options = ["--engine", "local", "--health", "/no-such-page", "--boot-timeout", "3600"]
    done = deploy("ci", small, *options, home=stacked)
    assert done.code == 50
    assert "web.1 answers 404 to GET /no-such-page\n" in done.err


BROKEN = """\
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    raise LookupError("no database")

make_server("", int(os.environ["PORT"]), app).serve_forever()
"""


def test_a_health_path_that_answers_500_until_the_end_is_50(place: str, small: Path, stacked: Path) -> None:
    (small / "Procfile").write_text("web: exec python broken.py\n")
    (small / "broken.py").write_text(BROKEN)
    done = boot(small, stacked, "--engine", place, "--health", "/up")
    assert done.code == 50, done.err
    error = json.loads(done.out)["error"]
    assert error["what"] == "web.1 answers 500 to GET /up"
    assert "\n  LookupError: no database" in error["why"]


def test_a_folder_to_fix_is_10_and_nothing_is_built(blasto: Path, tmp_path: Path) -> None:
    (blasto / "Pipfile.lock").unlink()
    done = deploy("ci", blasto, "--json", home=tmp_path / "home", env={"GITHUB_ACTIONS": "true"})
    assert done.code == 10
    report = json.loads(done.out)
    assert statuses(report) == {
        "check": ("failed", 10),
        **dict.fromkeys(["build", "test", "boot", "push"], ("skipped", None)),
    }
    assert report["error"]["exit_code"] == 10
    assert "digest" not in report


WARNING = (
    "Procfile:1: `web` does not listen on $PORT (-b 0.0.0.0:8000); "
    "leave it out, and gunicorn listens on $PORT by itself."
)


def test_a_warning_is_an_error_only_under_strict(blasto: Path, ready: Path) -> None:
    (blasto / "Procfile").write_text("web: gunicorn -b 0.0.0.0:8000 blasto:APP\n")
    plain = deploy("ci", blasto, "--no-boot", "--json", home=ready)
    assert plain.code == 0
    assert f"warning: {WARNING}" in plain.err
    assert plain.err.count(WARNING) == 1
    assert json.loads(plain.out)["warnings"] == [WARNING]
    strict = deploy("ci", blasto, "--no-boot", "--strict", "--json", home=ready)
    assert strict.code == 10
    report = json.loads(strict.out)
    assert statuses(report)["check"] == ("failed", 10)
    assert report["error"]["what"] == "there is a warning, and --strict makes it an error"


def test_github_s_log_summary_and_outputs(small: Path, stacked: Path, tmp_path: Path) -> None:
    (small / "Procfile").write_text(f"web: {WEB}\n  worker: sleep 1\n")
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(small.parent),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
    }
    test = "echo ::set-output name=digest::evil; echo '##[add-mask]x'"
    done = deploy("ci", small, "-t", "shop:1", "--engine", "local", "--test", test, home=stacked, env=environ)
    assert done.code == 0, done.err
    digest = done.out.strip()
    lines = done.err.splitlines()
    warning = "Procfile:2: the line is indented; honcho and dokku skip such a line."
    assert f"::warning file=small/Procfile,line=2,title=deploy::{warning}" in lines
    assert [line for line in lines if line.startswith("::group::")] == [
        *(f"::group::check {small}", "::group::build", f"::group::test: {test}", "::group::boot")
    ]
    assert lines.count("::endgroup::") == 4
    at = lines.index("::set-output name=digest::evil")
    stopped = [line for line in lines[:at] if line.startswith("::stop-commands::")][-1].rpartition("::")[2]
    assert f"::{stopped}::" not in lines[:at]
    assert f"::{stopped}::" in lines[at:]
    outputs = (tmp_path / "outputs").read_text()
    assert f"\n{digest}\n" in outputs
    assert f"\ndocker.io/library/shop@{digest}\n" in outputs
    summary = (tmp_path / "summary").read_text()
    assert "### ✅ <code>docker.io/library/shop:1</code> built, not pushed" in summary
    assert f"<code>{digest}</code>" in summary


@pytest.mark.parametrize("variable", ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"])
def test_a_file_of_the_service_s_that_cannot_be_written_stops_it_at_once(
    variable: str, blasto: Path, tmp_path: Path
) -> None:
    done = deploy("ci", blasto, home=tmp_path / "home", env={variable: f"{tmp_path}/no/such"})
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        f"error: {variable} cannot be written\n\n{tmp_path}/no/such: No such file or directory.\n\n"
        "hint: the CI service sets this variable; unset it to run without the file.\n"
    )


def test_gitlab_s_log_folds(small: Path, stacked: Path) -> None:
    done = deploy("ci", small, "--no-boot", home=stacked, env={"GITLAB_CI": "true"})
    assert done.code == 0
    assert done.err.count("\x1b[0Ksection_start:") == done.err.count("\x1b[0Ksection_end:") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--push"], "--push needs the name to push to"),
        (["--health", "x"], "--health 'x' is not a path"),
        (["--test", "x", "--no-test"], "--test and --no-test cannot be used together"),
        (["--test", "x", "--no-boot"], "--no-boot and --test cannot be used together"),
        (["--service-env", "A=1", "--no-boot"], "--no-boot and --service-env cannot be used together"),
        (["--release", "--no-boot"], "--no-boot and --release cannot be used together"),
        (["--network", "x", "--no-boot"], "--no-boot and --network cannot be used together"),
        (["--service", "a=b:1", "--no-boot"], "--no-boot and --service cannot be used together"),
        (["--collect", "/etc=x"], "--collect '/etc=x' cannot be used"),
    ],
)
def test_wrong_usage_is_2(options: list[str], message: str, blasto: Path, tmp_path: Path) -> None:
    done = deploy("ci", blasto, *options, home=tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


def test_an_interrupted_test_leaves_no_container(small: Path, stacked: Path, engine: str) -> None:
    host, name = Host(address=engine, product="docker"), rename(small)
    running = Running("ci", small, "--engine", "docker", "--test", "echo begun; sleep 1000", home=stacked)
    try:
        wait_for_error(running, "begun")
        assert len(host.everything(name)) == 2
        assert running.stop() == 143
        assert host.everything(name) == set()
        assert running.left() == []
    finally:
        running.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_an_interrupted_test_leaves_no_process(number: int, code: int, small: Path, stacked: Path) -> None:
    test = "trap '' TERM INT HUP; echo begun; sleep 1000"
    running = Running("ci", small, "--engine", "local", "-e", "DEPLOY_TEST", "--test", test, home=stacked)
    try:
        wait_for_error(running, "begun")
        assert running.stop(number) == code
        assert running.left() == []
        assert list((stacked / "trials").iterdir()) == []
    finally:
        running.close()


GATED = """\
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

in_request = os.environ["WAITS"] == "in a request"

def open_gate():
    return socket.create_connection(("127.0.0.1", int(os.environ["GATE"])))

def end(*_):
    open_gate().recv(1)
    os._exit(0)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if in_request:
            gate = open_gate()
            signal.sigwait([signal.SIGTERM])
        self.send_response(204)
        self.end_headers()
        if in_request:
            self.rfile.read()
            os._exit(0)

if in_request:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.signal(signal.SIGTERM, end)
HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""An app that opens its gate and waits: in a request until it is stopped, or at its end until the gate is closed."""


@pytest.mark.parametrize(
    ("number", "code", "waits"), [(signal.SIGINT, 130, "in a request"), (signal.SIGTERM, 143, "at its end")]
)
def test_nothing_is_pushed_if_a_signal_comes_while_the_image_boots(
    place: str, number: int, code: int, waits: str, seed: Path, registry: str, tmp_path: Path
) -> None:
    app, home = write_app(tmp_path / "tiny", {}), with_stack(seed, tmp_path / "home")
    (app / "serve.py").write_text(GATED)
    (app / "Procfile").write_text("web: python serve.py\n")
    name = f"team/{uuid.uuid4().hex}"
    asked = ["ci", app, "-t", f"{registry}/{name}:1", "--push", "--no-test", "--engine", place]
    asked += ["--network", "host"] if place == "docker" else []
    with socket.create_server(("127.0.0.1", 0)) as gate:
        given = ["-e", f"GATE={gate.getsockname()[1]}", "-e", f"WAITS={waits}"]
        running = Running(*asked, *given, home=home)
        try:
            gate.settimeout(60)
            with gate.accept()[0]:
                running.process.send_signal(number)
            assert running.wait() == code, running.err
            assert "boot   passed" not in running.err
            assert "push " not in running.err
            assert running.left() == []
        finally:
            running.close()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{registry}/v2/{name}/manifests/1", timeout=30)


def test_what_a_test_leaves_running_is_ended(small: Path, stacked: Path) -> None:
    command = ["ci", small, "--engine", "local", "-e", "DEPLOY_TEST", "--test", "sleep 1000 & echo begun"]
    running = Running(*command, home=stacked)
    try:
        assert running.wait() == 0, running.err
        assert running.left() == []
    finally:
        running.close()


@pytest.mark.parametrize("apart", ["", "setsid "])
def test_what_a_test_leaves_printing_is_not_waited_for(apart: str, small: Path, stacked: Path) -> None:
    test = f"{apart}sh -c 'while :; do echo still here; done' & exit 3"
    running = Running("ci", small, "--engine", "local", "-e", "DEPLOY_TEST", "--test", test, home=stacked)
    try:
        assert running.wait() == 60
        assert "error: the app's tests failed\n" in running.err
    finally:
        running.close()  # ends what went into a session of its own


def wait_for_error(running: Running, text: str) -> None:
    end = time.monotonic() + 60
    while f"\n{text}\n" not in running.err:
        assert running.process.poll() is None, running.err
        assert time.monotonic() < end, running.err
        time.sleep(0.02)


def test_without_an_engine_it_says_so(small: Path, stacked: Path, tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    done = deploy("ci", small, "--test", "true", home=stacked, env=environ)
    assert done.code == 0, done.err
    assert "engine: local (the container engine at unix://" in done.err
    assert "tried out: the app's layer and the same wheels on this machine's Python, not the image\n" in done.err


def test_what_a_package_s_build_says_is_shown_and_not_obeyed(home, tmp_path):
    app = tiny.write_app(tmp_path / "app", {})
    (app / "lib").mkdir()
    (app / "lib" / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (app / "lib" / "backend.py").write_text("def build_wheel(*_, **__):\n    raise SystemExit('\\x1b]0;mine\\x07')\n")
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + 'lib = {path = "./lib"}\n')
    tiny.write_lock(app, {"lib": {"path": "./lib"}})
    done = deploy("ci", app, "--no-boot", home=home, env={"TINY_INDEX": "127.0.0.1:1"})
    assert done.code == 20
    assert "error: lib could not be built\n" in done.err
    assert "\n  \\x1b]0;mine\\x07\n" in done.err
    assert "\x1b" not in done.err


CHOOSY = """
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    known = environ["HTTP_HOST"] == "a.example"
    start_response("200 OK" if known else "400 Bad Request", [("Content-Type", "text/html")])
    return [b"welcome" if known else b"<h1>Bad Request (400)</h1>"]

make_server("", int(os.environ["PORT"]), app).serve_forever()
"""


def test_a_host_that_the_app_refuses_is_named_at_once(seed, tmp_path):
    app, home = write_app(tmp_path / "tiny", {}), with_stack(seed, tmp_path / "home")
    (app / "serve.py").write_text(CHOOSY)
    (app / "Procfile").write_text("web: python serve.py\n")
    asked = ("ci", app, "--engine", "local", "--no-test", "--health", "/", "--boot-timeout", "3600")
    done = deploy(*asked, home=home)
    assert done.code == 50, done.err
    assert "web.1 answers 400 to GET /\n\nThe request was for the host `localhost:" in done.err
    assert "`, which its ALLOWED_HOSTS does not have (DisallowedHost)." in done.err
    assert "hint: name a host of ALLOWED_HOSTS with --health-host." in done.err
    for more in (("--health-host", "a.example"), ("-e", "ALLOWED_HOSTS=a.example")):
        done = deploy(*asked, *more, home=home)
        assert done.code == 0, done.err
        assert "web answered 200" in done.err


@pytest.mark.engine
def test_a_refused_host_is_reported_with_an_engine_too(engine, seed, tmp_path):
    app, port = write_app(tmp_path / "tiny", {}), str(free_port())
    home = with_stack(seed, tmp_path / "home")
    (app / "serve.py").write_text(CHOOSY)
    (app / "Procfile").write_text("web: python serve.py\n")
    done = deploy("ci", app, "--engine", "docker", "--no-test", "--health", "/", "--boot-timeout", "3600", home=home)
    assert done.code == 50, done.err
    assert "web.1 answers 400 to GET /\n\nThe request was for the host `localhost:8000`, which its ALLOWED" in done.err
    for given, reported in (
        ([], "(it answers 400: DisallowedHost; --health-host names another host)"),
        (["-e", "ALLOWED_HOSTS=a.example"], "(it answers to the host a.example)"),
        (["--health-host", "a.example"], "(it answers to the host a.example)"),
    ):
        running = Running("run", app, "--engine", "docker", "-p", port, *given, home=home)
        try:
            running.wait_for(f"ready: http://localhost:{port} {reported}\n")
            running.stop()
        finally:
            running.close()


@pytest.mark.parametrize("place", ["local", "docker"])
def test_what_only_the_tests_need_is_looked_up_before_anything_is_built(place: str, home: Path, tmp_path: Path) -> None:
    with serving() as index:
        app = tiny.write_app(tmp_path / "app", tiny.add_wheels(index, tmp_path / "wheels", "alpha"))
        filename, content = make_wheel("bravo", "1.0", tag="cp311-cp311-win_amd64")
        index.add("bravo", filename, content)
        lock = json.loads((app / "Pipfile.lock").read_text())
        lock["develop"] = {
            "bravo": {**tiny.entry(content), "index": "tiny"},
            "charlie": {**tiny.entry(b"gone"), "index": "tiny"},
        }
        (app / "Pipfile.lock").write_text(json.dumps(lock))
        (app / "bin").mkdir()
        (app / "bin" / "pre_compile").write_text("#!/bin/sh\necho the hook ran\nexit 1\n")
        (app / "bin" / "pre_compile").chmod(0o755)
        options = ["--test", "python -m unittest", "--engine", place, "--json"]
        done = deploy("ci", app, *options, home=home, env=tiny.environ(index))
        assert done.code == 20, done.err
        assert not any(path.startswith("/files/") for path in index.paths()), "something was fetched"
    assert statuses(json.loads(done.out)) == {
        "check": ("passed", 0),
        "build": ("failed", 20),
        "test": ("skipped", None),
        "boot": ("skipped", None),
        "push": ("skipped", None),
    }
    assert "the hook ran" not in done.err
    assert "error: no file of bravo 1.0 fits the stack\n" in done.err
    assert "error: no index has charlie\n" in done.err
    assert done.err.count("\nOnly the tests need it: it is a develop package.\n") == 2
    assert done.err.count(", or leave out the tests with `--no-test`.\n") == 2

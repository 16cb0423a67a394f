"""The GitHub action, and what docs/pipelines.md shows: valid for the services, and the shell in them run for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deployer.cli.ci import command
from tests.support.command import ROOT

ACTION = ROOT / "action.yml"
DOCUMENT = ROOT / "docs" / "pipelines.md"

HOSTILE = "$(touch injected) `touch injected`; touch injected # ${{ x }} '\" \\"
"""A value that would leave a trace, were it ever a part of a script."""


def schema_errors(name: str, text: str, folder: Path) -> str:
    """Check against a schema of schemastore's, as the package check-jsonschema brings it; what is wrong."""
    file = folder / f"{name}.yml"
    file.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""


def snippet(title: str) -> str:
    """Return the code block of the document under this title."""
    found = re.search(rf"<!-- {title} -->\n```\w+\n(.*?)\n```\n", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None, title
    return found[1] + "\n"


def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    return found


def test_the_action_and_the_snippets_are_valid(tmp_path: Path) -> None:
    assert schema_errors("github-actions", ACTION.read_text(), tmp_path) == ""
    assert schema_errors("github-workflows", snippet("GitHub workflow"), tmp_path) == ""
    assert schema_errors("gitlab-ci", snippet("GitLab pipeline"), tmp_path) == ""
    assert schema_errors("github-actions", ACTION.read_text().replace("using: composite", "using: x"), tmp_path)


def test_what_the_action_installs_is_locked_and_hashed() -> None:
    lock = (ROOT / "requirements.lock.txt").read_text()
    lines = [line for line in lock.splitlines() if not line.startswith("#")]
    entries = re.split(r"\n(?=\S)", "\n".join(lines).strip())
    locked = {}
    for entry in entries:
        found = re.match(r"([a-z0-9-]+)==(\S+)", entry)
        assert found is not None, entry
        assert "--hash=sha256:" in entry
        locked[found[1]] = Version(found[2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


RENAMED = {"tag": "tags", "label": "labels", "no-boot": "boot", "no-sbom": "sbom"}
"""Options whose inputs have another name: they take several, or are on by default."""
WITHOUT_AN_INPUT = {
    "json": "the step's outputs and its summary tell what it does",
    "commit": "the action always gives it: a workflow has a checkout",
}
WITHOUT_AN_OPTION = {
    "app": "an argument",
    "user": "a variable of deploy's, since arguments are shown to all users of a machine",
    "password": "as user",
    "python": "what runs deploy",
}


def test_the_action_has_what_the_command_has_and_a_face() -> None:
    options = {
        option.removeprefix("--")
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
    expected = {RENAMED.get(option, option) for option in options - set(WITHOUT_AN_INPUT)}
    assert set(action()["inputs"]) == expected | set(WITHOUT_AN_OPTION)
    assert set(action()["branding"]) == {"icon", "color"}


def test_the_workflow_uses_inputs_and_outputs_that_there_are() -> None:
    steps = yaml.safe_load(snippet("GitHub workflow"))["jobs"]["image"]["steps"]
    uses = next(step for step in steps if step.get("id") == "image")
    assert set(uses["with"]) <= set(action()["inputs"])
    used = set(re.findall(r"steps\.image\.outputs\.([a-z-]+)", snippet("GitHub workflow")))
    assert used
    assert used <= set(action()["outputs"])


def test_no_shell_with_the_password_is_there_while_tests_run() -> None:
    """Tests that run as the same user could read its environment; deploy hides its own."""
    _, step = action()["runs"]["steps"]
    assert "DEPLOY_REGISTRY_PASSWORD" in step["env"]
    assert step["run"].splitlines()[-1].startswith('exec "$RUNNER_TEMP/deploy-ci/bin/deploy" ci ')


def test_no_input_is_a_part_of_a_script() -> None:
    for step in action()["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert all(
            re.fullmatch(r"\$\{\{ inputs\.[a-z-]+( \|\| env\.[A-Z_]+)? \}\}", value) for value in step["env"].values()
        )
    passed = "".join(value for step in action()["runs"]["steps"] for value in step["env"].values())
    assert {name for name in action()["inputs"] if f"inputs.{name} " not in passed} == set()


class Runner:
    """As much of GitHub's runner as a composite action needs: contexts, files, and bash as it starts it."""

    def __init__(self, folder: Path, workspace: Path) -> None:
        self.folder, self.workspace = folder, workspace
        self.outputs = folder / "outputs"
        self.summary = folder / "summary"
        for path in (folder, folder / "temp"):
            path.mkdir(exist_ok=True)

    def run(
        self, step: Mapping[str, Any], inputs: Mapping[str, str], **environ: str
    ) -> subprocess.CompletedProcess[str]:
        defaults = {name: entry.get("default", "") for name, entry in action()["inputs"].items()}
        given = {**defaults, **inputs}
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.folder / "temp"),
            **environ,
        }
        env |= {name: evaluate(value, given, environ) for name, value in step["env"].items()}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def evaluate(expression: str, inputs: Mapping[str, str], environ: Mapping[str, str]) -> str:
    found = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+)(?: \|\| env\.([A-Z_]+))? \}\}", expression)
    assert found is not None, expression
    return inputs[found[1]] or environ.get(found[2] or "", "")


def commit(app: Path) -> Path:
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=app, check=True, capture_output=True)
    return app


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of a runner on which the action has installed itself."""
    # A checkout may have modules that are called like Python's own.
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("types", "venv", "logging"):
        (checkout / f"{name}.py").write_text("raise SystemExit('the checkout was imported')\n")
    runner = Runner(tmp_path_factory.mktemp("runner"), checkout)
    install, _ = action()["runs"]["steps"]
    # Its dependencies are not fetched again: the tests' own environment has them.
    own = sysconfig.get_path("purelib")
    done = runner.run(install, {"python": sys.executable}, PYTHONPATH=own, **pip_settings())
    assert done.returncode == 0, done.stderr
    (place,) = (runner.folder / "temp" / "deploy-ci" / "lib").glob("python3*/site-packages")
    (place / "tests.pth").write_text(f"{own}\n")
    return runner.folder / "temp"


def pip_settings() -> dict[str, str]:
    """Return what pip has to know of this machine's network."""
    wanted = re.compile(r"(?i)pip_.*|.*_proxy|ssl_cert_.*|requests_ca_bundle")
    return {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}


def tag_names(reference: str) -> str:
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    url = f"http://{host}/v2/{name}/manifests/{tag}"
    asked = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as response:
        return str(response.headers["Docker-Content-Digest"])


def created(reference: str) -> datetime:
    command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    inspected = subprocess.run(command, capture_output=True, text=True, check=True)
    return datetime.fromisoformat(json.loads(inspected.stdout)["Created"])


def labels(reference: str) -> dict[str, str]:
    command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    inspected = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(inspected.stdout)["Labels"]
    return found


def outputs_of(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)<<(?:\w+)\n(.*)\n", path.read_text(), re.MULTILINE))


TEST = """\
test "$QUOTED" = "a 'b' \\$(c)" && test "$PASSED_ON" = here && test -z "${DEPLOY_REGISTRY_PASSWORD:-}"
"""


@pytest.mark.registry
def test_the_action_s_shell(installed: Path, registry: str, home: Path, blasto: Path, tmp_path: Path) -> None:
    commit(blasto)
    origin = "https://me:secret@git.example.com/team/blasto.git"
    subprocess.run(["git", "config", "remote.origin.url", origin], cwd=blasto, check=True)
    if os.getuid() == 0:
        for place in (blasto, blasto / ".git"):
            os.chown(place, 12345, 12345)
    runner = Runner(tmp_path / "runner", blasto.parent)
    (runner.folder / "temp" / "deploy-ci").symlink_to(installed / "deploy-ci")
    _, step = action()["runs"]["steps"]
    inputs = {
        "app": "blasto",
        "tags": f"{registry}/action/blasto:1 \n  {registry}/action/blasto:main",
        "push": "true",
        "test": TEST,
        "env": "QUOTED=a 'b' $(c)\n\nPASSED_ON",
    }
    environ = {
        "DEPLOY_HOME": str(home),
        "PASSED_ON": "here",
        "DEPLOY_REGISTRY_PASSWORD": "x",
        "DEPLOY_REGISTRY_USER": "y",
    }
    environ |= {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", **pip_settings()}
    done = runner.run(step, inputs, **environ)
    assert done.returncode == 0, done.stderr
    outputs = outputs_of(runner.outputs)
    assert outputs["digest"] == tag_names(f"{registry}/action/blasto:1") == tag_names(f"{registry}/action/blasto:main")
    assert outputs["reference"] == f"{registry}/action/blasto@{outputs['digest']}"
    assert outputs["pushed"] == "true"
    assert set(action()["outputs"]) == set(outputs)
    assert "built and pushed" in runner.summary.read_text()
    # The image is as old as the commit, though the checkout is not this user's.
    asked = ["git", "-c", "safe.directory=*", "log", "-1", "--format=%ct"]
    committed = subprocess.run(asked, cwd=blasto, capture_output=True, text=True, check=True)
    made = created(f"{registry}/action/blasto:1")
    assert made.timestamp() == int(committed.stdout)
    revision = subprocess.run([*asked[:3], "rev-parse", "HEAD"], cwd=blasto, capture_output=True, text=True, check=True)
    told = labels(f"{registry}/action/blasto:1")
    assert {name: told[f"org.opencontainers.image.{name}"] for name in ("revision", "source", "created")} == {
        "revision": revision.stdout.strip(),
        "source": "https://git.example.com/team/blasto.git",
        "created": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("app", "tags", "test", "health", "env", "build-env", "cache-from", "platform", "stack", "push"),
        *("labels", "category", "engine", "boot-timeout", "network", "service-env", "collect", "sbom", "release"),
        *("service", "health-host", "build-env-file", "format", "no-test", "no-cache"),
    ],
)
def test_an_input_with_any_text_is_a_value(name: str, installed: Path, blasto: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "runner", blasto.parent)
    shell = runner.folder / "temp" / "deploy-ci" / "bin"
    shell.mkdir(parents=True)
    (shell / "deploy").write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\n" "$argument"; done\n')
    (shell / "deploy").chmod(0o755)
    _, step = action()["runs"]["steps"]
    done = runner.run(step, {"tags": "x:1", name: HOSTILE})
    assert [path.name for path in blasto.parent.rglob("injected")] == []
    if name in {"push", "sbom", "release", "no-test", "no-cache"}:
        assert (done.returncode, done.stderr) == (2, f"::error title=deploy::the input '{name}' is true or false\n")
        return
    assert done.returncode == 0, done.stderr
    whole = {
        "app": HOSTILE,
        **{each: f"--{each}={HOSTILE}" for each in ("test", "health", "env", "build-env", "platform", "stack")},
        **{each: f"--{each}={HOSTILE}" for each in ("engine", "boot-timeout", "network", "service-env", "collect")},
        **{each: f"--{each}={HOSTILE}" for each in ("service", "health-host", "build-env-file", "format")},
        "labels": f"--label={HOSTILE}",
    }
    words = {"tags": "--tag=", "cache-from": "--cache-from=", "category": "--category="}
    expected = [whole[name]] if name in whole else [f"{words[name]}{word}" for word in HOSTILE.split()]
    assert [line for line in done.stdout.splitlines() if line in expected] == expected


def shell(script: str, cwd: Path, installed: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{installed / 'deploy-ci' / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env={"PATH": path, "HOME": str(cwd), **pip_settings(), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.registry
def test_the_plain_shell(installed: Path, registry: str, home: Path, blasto: Path) -> None:
    commit(blasto)
    image = f"{registry}/shell/blasto:1"
    login = {"REGISTRY_USER": "user", "REGISTRY_PASSWORD": "password"}
    engine = {"DOCKER_HOST": f"unix://{blasto}/none.sock"}
    done = shell(snippet("shell"), blasto, installed, IMAGE=image, DEPLOY_HOME=str(home), **login, **engine)
    assert done.returncode == 0, done.stderr
    assert (blasto.parent / "image.digest").read_text().strip() == tag_names(image)


@pytest.mark.registry
def test_the_gitlab_pipeline(installed: Path, registry: str, home: Path, blasto: Path) -> None:
    job = yaml.safe_load(snippet("GitLab pipeline"))["build image"]
    known = {
        "CI_REGISTRY_USER": "gitlab-ci-token",
        "CI_REGISTRY_PASSWORD": "password",
        "CI_REGISTRY_IMAGE": f"{registry}/gitlab/blasto",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_COMMIT_SHA": "0123abc",
        "CI_COMMIT_TIMESTAMP": "2024-02-03T04:05:06+01:00",
        "GITLAB_CI": "true",
    }
    variables = {name: known[value.removeprefix("$")] for name, value in job["variables"].items()}
    script = "set -e\n" + "\n".join(job["script"])
    engine = {"DOCKER_HOST": f"unix://{blasto}/none.sock"}
    done = shell(script, blasto, installed, DEPLOY_HOME=str(home), **known, **variables, **engine)
    assert done.returncode == 0, done.stderr
    assert tag_names(f"{registry}/gitlab/blasto:main") == tag_names(f"{registry}/gitlab/blasto:0123abc")
    assert created(f"{registry}/gitlab/blasto:main") == datetime(2024, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert "section_start" in done.stderr

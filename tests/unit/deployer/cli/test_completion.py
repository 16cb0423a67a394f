"""Suggestions for command lines; tests/integration/test_completion.py tests them in shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.oci.image import Platform, assemble
from buildpack.oci.store import Store
from deployer.cli.command import COMMANDS, deploy
from deployer.cli.completion import Shell, answer
from deployer.cli.suggestions import suggest_paths


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, an app; beside its files another app. The store is empty."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path_factory.mktemp("store")))
    (tmp_path / "Procfile").write_text("web: gunicorn blasto:APP\nworker: python work.py\nrelease: python r.py\n")
    (tmp_path / "Pipfile").write_text("[packages]\n[docs]\n[scripts]\n")
    (tmp_path / "prod.env").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "Procfile").write_text("web: flask run\nmailer: python mail.py\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suggested(line: str, monkeypatch: pytest.MonkeyPatch, shell: str = "fish") -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    text = Shell(shell, deploy).complete()
    return [one.partition("\t")[0] for one in text.splitlines()]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("deploy ", list(COMMANDS)),
        ("deploy bu", ["build"]),
        ("deploy --v", ["--version"]),
        ("deploy run ", ["web", "worker", "release", "api/"]),
        ("deploy run w", ["web", "worker"]),
        ("deploy run web w", ["worker"]),
        ("deploy run web=2 w", ["worker"]),
        ("deploy run api ", ["web", "mailer"]),
        ("deploy local api m", ["mailer"]),
        ("deploy export systemd ", ["web", "worker", "release", "api/"]),
        ("deploy build ", ["api/"]),
        ("deploy lock a", ["api/"]),
        ("deploy init a", ["api/"]),
        ("deploy init --license ", ["MIT"]),
        ("deploy add --app a", ["api/"]),
        ("deploy ci --build-env-file p", ["prod.env"]),
        ("deploy local --venv=a", ["--venv=api/"]),
        ("deploy build --category ", ["develop", "docs"]),
        ("deploy local --category de", ["develop"]),
        ("deploy inspect a", ["api/"]),
        ("deploy push a", ["api/"]),
        ("deploy verify api a", ["api/"]),
        ("deploy cache ", ["info", "prune"]),
        ("deploy build --stack h", ["host"]),
        ("deploy build --stack python:3.12", ["python:3.12-slim"]),
        ("deploy build --stack=o", ["--stack=oci:"]),
        ("deploy build --stack oci:", ["oci:api/"]),
        ("deploy build --to ", ["docker", "registry", "oci:", "archive:"]),
        ("deploy build --to archive:p", ["archive:prod.env"]),
        ("deploy build --platform linux/ar", ["linux/arm64"]),
        ("deploy run --engine d", ["docker"]),
        ("deploy run --env-file p", ["prod.env"]),
        ("deploy run --restart on", ["on-failure"]),
        ("deploy run -- pr", ["prod.env"]),
        ("deploy export compose -o a", ["api/"]),
        ("deploy completion ", ["bash", "zsh", "fish"]),
        ("deploy run --no-such-option ", ["web", "worker", "release", "api/"]),
        ("deploy run 'unfinished quote", []),
    ],
)
def test_suggestions(here, monkeypatch, line, values):
    assert suggested(line, monkeypatch) == values


def test_commands_and_process_types_say_what_they_are(here, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "deploy run we")
    assert Shell("zsh", deploy).complete() == "web\tgunicorn blasto:APP"
    assert Shell("bash", deploy).complete() == "web"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_control_characters_of_commands_and_names_are_escaped(here, monkeypatch, shell):
    (here / "Procfile").write_text("web: python \u202eyp.x\x1b[31m\n")
    (here / "we\x1b[31m").mkdir()
    monkeypatch.setenv("COMP_LINE", "deploy run we")
    assert Shell(shell, deploy).complete() == r"web	python \u202eyp.x\x1b[31m"


@pytest.mark.parametrize(
    ("shell", "written"),
    [("bash", "a\\ \\$b\\'c/"), ("zsh", "oci:a\\ \\$b\\'c/"), ("fish", "oci:a $b'c/")],
)
def test_names_are_quoted_as_each_shell_wants_them(here, monkeypatch, shell, written):
    (here / "a $b'c").mkdir()
    assert suggested("deploy build --to oci:a\\ ", monkeypatch, shell) == [written]


def test_hidden_names_are_suggested_after_a_dot(here):
    assert [item.value for item in suggest_paths("")] == ["Pipfile", "Procfile", "api/", "prod.env"]
    assert [item.value for item in suggest_paths(".h")] == [".hidden/"]
    assert [item.value for item in suggest_paths("no/such/")] == []


@pytest.mark.parametrize("line", ["deploy nonsense ", "deploy run ", "deploy export nonsense x"])
def test_errors_while_typing_are_not_printed(here, monkeypatch, capfd, line):
    (here / "Procfile").write_text("not a Procfile\n")
    (here / "api").rename(here / ".api")
    monkeypatch.setenv("COMP_LINE", line)
    answer("bash_complete", deploy)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_shell_is_a_failure(capfd):
    assert answer("tcsh_source", deploy) == 2
    assert capfd.readouterr() == ("", "")


def test_images_of_the_store_are_suggested(here, monkeypatch):
    monkeypatch.setenv("DEPLOY_HOME", str(here / "store"))
    image = assemble([], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    Store(here / "store").put_image(
        image, ["docker.io/library/api:latest", "docker.io/library/api:2", "ghcr.io/me/x:1"]
    )
    assert suggested("deploy inspect ap", monkeypatch) == ["api:2", "api", "api/"]
    assert suggested("deploy push gh", monkeypatch) == ["ghcr.io/me/x:1"]

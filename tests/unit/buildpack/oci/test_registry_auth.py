"""The places of logins, and the login for each repository."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from buildpack.oci.registry_auth import find_logins


def entry(user: str) -> dict[str, str]:
    return {"auth": b64encode(f"{user}:secret".encode()).decode()}


def write(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def user_of(repository: str, environ: dict[str, str], registry: str = "quay.io") -> str:
    login = find_logins(registry, environ, home=False).of(repository)
    return login.user.reveal() if login else ""


def test_the_longest_namespace_wins(tmp_path: Path) -> None:
    """As in containers-auth.json(5): a team's login is only for the team's repositories."""
    file = tmp_path / "auth.json"
    names = ("quay.io/team/app", "quay.io/team", "quay.io/team/app/deep", "elsewhere.io/other")
    write(file, auths={name: entry(name) for name in names})
    environ = {"REGISTRY_AUTH_FILE": str(file)}
    assert user_of("team/app", environ) == "quay.io/team/app"
    assert user_of("team/app/deep/er", environ) == "quay.io/team/app/deep"
    assert user_of("team/apple", environ) == "quay.io/team"
    assert user_of("teams/app", environ) == ""
    assert user_of("other", environ) == ""
    write(file, auths={name: entry(name) for name in (*names, "quay.io")})
    assert user_of("team/apple", environ) == "quay.io/team"
    assert user_of("teams/app", environ) == "quay.io"


@pytest.mark.parametrize("key", ["https://quay.io/v1/", "http://quay.io/team/", "quay.io/v2/", "quay.io/"])
def test_an_address_is_for_the_whole_registry(tmp_path: Path, key: str) -> None:
    write(tmp_path / "config.json", auths={key: entry("me")})
    assert user_of("anything", {"DOCKER_CONFIG": str(tmp_path)}) == "me"


def test_namespaces_of_docker_hub_are_read(tmp_path: Path) -> None:
    write(tmp_path / "auth.json", auths={"docker.io/team": entry("team"), "https://index.docker.io/v1/": entry("me")})
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    assert user_of("team/app", environ, "docker.io") == "team"
    assert user_of("library/python", environ, "docker.io") == "me"


def test_a_namespace_of_podman_s_adds_to_docker_s_logins(tmp_path: Path) -> None:
    """Docker's file comes first; if it has a login for the whole registry, podman's files are not read."""
    write(tmp_path / "auth.json", auths={"quay.io": entry("podman")})
    write(tmp_path / "config.json", auths={"quay.io/team": entry("team")})
    environ = {"DOCKER_CONFIG": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    assert [user_of(each, environ) for each in ("team/app", "app")] == ["team", "podman"]
    write(tmp_path / "config.json", auths={"quay.io": entry("docker")})
    write(tmp_path / "auth.json", auths={"quay.io/team": entry("podman")})
    assert user_of("team/app", environ) == "docker"


def test_podman_s_files_have_an_order(tmp_path: Path) -> None:
    """Only the file of REGISTRY_AUTH_FILE if it is set; else the session's file, then the permanent one."""
    write(tmp_path / "run/containers/auth.json", auths={"quay.io": entry("session")})
    write(tmp_path / "settings/containers/auth.json", auths={"quay.io": entry("lasting")})
    write(tmp_path / ".config/containers/auth.json", auths={"quay.io": entry("home")})
    write(tmp_path / "named.json", auths={"quay.io/team": entry("named")})
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "empty")}
    assert user_of("team/app", environ) == "home"
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "settings")
    assert user_of("team/app", environ) == "lasting"
    environ["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    assert user_of("team/app", environ) == "session"
    environ["REGISTRY_AUTH_FILE"] = str(tmp_path / "named.json")
    assert [user_of(each, environ) for each in ("team/app", "app")] == ["named", ""]


def helpers(folder: Path) -> dict[str, str]:
    for name in ("own", "all"):
        program = folder / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nprintf \'{{"Username":"{name}","Secret":"s"}}\'\n')
        program.chmod(0o755)
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}{os.pathsep}{os.defpath}"}


def test_helpers_have_an_order(tmp_path: Path) -> None:
    """The registry's own helper comes first, then the helper for all, then the file; an empty name means the file."""
    environ = helpers(tmp_path)
    auths = {"quay.io": entry("file")}
    for own, everybody, wanted in (
        ({"quay.io": "own"}, "all", "own"),
        ({"ghcr.io": "own"}, "all", "all"),
        ({"quay.io": "none"}, "all", "all"),
        ({"quay.io": ""}, "all", "file"),
        ({"quay.io": 5}, "", "file"),
        ({}, "none", "file"),
    ):
        write(tmp_path / "config.json", auths=auths, credHelpers=own, credsStore=everybody)
        assert user_of("team/app", environ) == wanted


def test_a_login_that_is_not_text(tmp_path: Path) -> None:
    """Bytes of a variable are sent unchanged; a text of JSON that cannot be encoded counts as absent."""
    environ = {"DEPLOY_REGISTRY_USER": "me", "DEPLOY_REGISTRY_PASSWORD": os.fsdecode(b"caf\xe9")}
    login = find_logins("quay.io", environ, home=True).of("app")
    assert login is not None
    assert login.basic == "Basic " + b64encode(b"me:caf\xe9").decode()
    (tmp_path / "config.json").write_text('{"auths": {"quay.io": {"identitytoken": "\\ud800"}}}')
    assert find_logins("quay.io", {"DOCKER_CONFIG": str(tmp_path)}, home=False).found == ()

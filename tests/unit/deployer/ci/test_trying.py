"""Trying an image out: the command that tests it, and the environment of processes without an engine."""

from __future__ import annotations

from buildpack.app.app_json import Script
from deployer.ci.trying import shell_command
from deployer.engines.local.trial import clean_environment


def test_of_the_pipeline_s_environment_only_the_harmless_is_kept():
    environ = {
        "PATH": "/opt/python/bin:/usr/bin",
        "TZ": "UTC",
        "GITHUB_TOKEN": "secret",
        "CI_JOB_TOKEN": "secret",
        "DEPLOY_REGISTRY_PASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HTTPS_PROXY": "http://user:secret@proxy",
    }
    assert clean_environment(environ) == {"PATH": "/opt/python/bin:/usr/bin", "TZ": "UTC", "LANG": "C.UTF-8"}
    assert clean_environment({}) == {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def test_a_set_up_comes_before_the_tests():
    assert shell_command(Script(test="pytest -q")) == ["sh", "-c", "pytest -q"]
    command = shell_command(Script(test="pytest -q", setup="flask init-db # first"))
    assert command == ["sh", "-c", 'sh -c "$1" && exec sh -c "$2"', "sh", "flask init-db # first", "pytest -q"]

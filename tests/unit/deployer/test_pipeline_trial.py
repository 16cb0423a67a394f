"""Trying out an image without an engine: what is unpacked, and what its processes get to see."""

from __future__ import annotations

import io
import tarfile

import pytest

from buildpack.app.script import Script
from buildpack.errors import StackError
from deployer.ci.local_trial import unpack_app
from deployer.ci.trial import clean_environment, shell_command


def archive(*members: tuple[str, bytes | str | None, int]) -> tarfile.TarFile:
    """Make an archive: bytes are a file, text is a link's target, None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content, mode in members:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if isinstance(content, bytes):
                info.size = len(content)
            elif content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    buffer.seek(0)
    return tarfile.open(fileobj=buffer, mode="r|")


def test_the_app_s_files_are_laid_out_and_nothing_else(tmp_path):
    members = [
        ("app", None, 0o755),
        ("app/bin/run", b"#!/bin/sh\n", 0o4777),
        ("app/views.py", b"x = 1\n", 0o600),
        ("app/static/dist", "../views.py", 0o777),
        ("opt/deploy/launch.json", b"{}", 0o644),
    ]
    with archive(*members) as tar:
        unpack_app(tar, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("app", "app/bin", "app/bin/run", "app/static", "app/static/dist", "app/views.py")
    ]
    assert (tmp_path / "app/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "app/views.py").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "app/static/dist").read_text() == "x = 1\n"


@pytest.mark.parametrize("name", ["app/../../evil", "app//evil", "app/./evil"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with archive((name, b"x", 0o644)) as tar, pytest.raises(StackError, match="app's layer"):
        unpack_app(tar, tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    members = [("app/link", str(tmp_path / "outside"), 0o777), ("app/link/evil", b"x", 0o644)]
    with archive(*members) as tar, pytest.raises(StackError, match="app/link as a link and as a folder"):
        unpack_app(tar, tmp_path / "root")
    assert list((tmp_path / "outside").iterdir()) == []


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

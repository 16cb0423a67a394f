"""`deploy lock` with the real pipenv and the real index."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.command import deploy


@pytest.mark.slow
def test_a_new_dependency_is_locked_and_then_builds(home, blasto):
    pipfile = blasto / "Pipfile"
    pipfile.write_text(pipfile.read_text().replace('gunicorn = "*"', 'gunicorn = "*"\nsix = "==1.16.0"'))
    (blasto / "inspect.py").write_text("raise SystemExit('of the app, not of the standard library')")
    stale = deploy("build", blasto, "-q", home=home)
    assert stale.code == 10
    done = deploy("lock", blasto, home=home)
    assert done.code == 0, done.err
    assert "  six 1.16.0 is new" in done.err.splitlines()
    assert json.loads((blasto / "Pipfile.lock").read_text())["default"]["six"]["version"] == "==1.16.0"
    assert (blasto / "deploy.toml").read_text().endswith('stack = "host"\n'), "the host has no digest to pin"
    assert list((home / "locking").iterdir()) == [], "pipenv's own environment is gone"
    assert deploy("build", blasto, "-q", home=home).code == 0


@pytest.mark.slow
def test_what_pipenv_cannot_lock_leaves_the_lock_as_it_was(home, blasto):
    before = (blasto / "Pipfile.lock").read_bytes()
    pipfile = blasto / "Pipfile"
    pipfile.write_text(pipfile.read_text().replace('gunicorn = "*"', 'gunicorn = "==99.0"'))
    done = deploy("lock", blasto, home=home)
    assert done.code == 20
    assert done.err.startswith("Locking with pipenv, which takes some seconds ...\n")
    assert (
        f"\nerror: pipenv could not lock {pipfile}\n\nPipfile.lock is as it was. The end of what pipenv said:"
        in done.err
    )
    assert "No matching distribution found for gunicorn==99.0" in done.err
    assert "Traceback" not in done.err
    assert (blasto / "Pipfile.lock").read_bytes() == before


def test_a_pipfile_that_cannot_be_read(home, blasto):
    (blasto / "Pipfile").write_text("[packages\n")
    done = deploy("lock", blasto, home=home)
    assert (done.code, done.out) == (10, "")
    assert done.err.startswith("error: Pipfile is not valid TOML\n\nPipfile:1:10: ")


def test_a_file_is_no_folder(home, blasto):
    done = deploy("lock", blasto / "Procfile", home=home)
    assert (done.code, done.out, done.err) == (
        2,
        "",
        (
            f"error: {blasto}/Procfile is not a folder\n\n"
            "The app to build is named by the folder that holds its Pipfile.lock.\n\n"
            "hint: name the folder instead of a file in it.\n"
        ),
    )


@pytest.mark.registry
def test_the_stack_s_digest_is_pinned(home, blasto, registry):
    from tests.support.stand_in import make_stand_in, push

    reference = push(make_stand_in(), registry, "lock/python:3.11")
    (blasto / "deploy.toml").write_text(f'# kept\nstack = "{reference}"\n')
    shutil.copy(blasto / "Pipfile", blasto / "Pipfile.old")
    done = deploy("lock", blasto, home=home)
    assert done.code == 0, done.err
    first, second = (blasto / "deploy.toml").read_text().splitlines()
    assert first == "# kept"
    assert second.startswith(f'stack = "{reference}@sha256:')
    assert deploy("lock", blasto, home=home).code == 0
    assert (blasto / "deploy.toml").read_text().splitlines() == [first, second]

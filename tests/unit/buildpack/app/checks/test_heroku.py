from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.app.checks.heroku import check_heroku

LINES = (
    "Aptfile: deploy does not obey this file: an image holds the system packages of its base, and no others; make a "
    "base image with them from these two lines, push it, and name it as `stack` in deploy.toml"
)


def told(
    folder: Path, *, stack: str | None = None, python: str | None = "3.12.4", packages: tuple[str, ...] = ()
) -> str:
    names = {path.name for path in folder.iterdir()}
    found = check_heroku(folder, names=names, stack=stack, python=python, packages=packages)
    return "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("stack", "python", "base"),
    [
        (None, "3.12.4", "python:3.12-slim"),
        ("host", "3.11", "python:3.11-slim"),
        ("oci:base", None, "python:3.13-slim"),
        ("registry.example/base:1", "3.12", "registry.example/base:1"),
    ],
)
def test_aptfile_says_which_base_to_make(tmp_path: Path, stack: str | None, python: str | None, base: str) -> None:
    (tmp_path / "Aptfile").write_text("# for GDAL\nlibgdal-dev\n\n ffmpeg=7:5.1.6-0 curl\nlibgdal-dev\n")
    assert told(tmp_path, stack=stack, python=python) == (
        f"{LINES}:\n\n  FROM {base}\n  RUN apt-get update && apt-get install -y --no-install-recommends "
        "libgdal-dev ffmpeg=7:5.1.6-0 curl && rm -rf /var/lib/apt/lists/*\n"
    )


def test_aptfile_with_more_than_packages(tmp_path: Path) -> None:
    (tmp_path / "Aptfile").write_text(":repo:deb http://x.org apt main\nhttps://x.org/a.deb\n$(reboot)\n")
    assert told(tmp_path) == (
        f"{LINES} (add what is not a package's name yourself: `:repo:deb http://x.org apt main`, "
        "`https://x.org/a.deb`, "
        "`$(reboot)`):\n\n  FROM python:3.12-slim\n  RUN apt-get update && apt-get install -y "
        "--no-install-recommends PACKAGE... && rm -rf /var/lib/apt/lists/*\n"
    )


def test_each_file_is_named_once(tmp_path: Path) -> None:
    for name in (".buildpacks", "Procfile.windows", "heroku.yml", "nltk.txt", ".profile", "Aptfile"):
        (tmp_path / name).touch()
    assert told(tmp_path) == (
        ".buildpacks: deploy does not obey this file: it runs no buildpacks; let bin/post_compile do what another "
        "buildpack did.\n"
        "heroku.yml: deploy does not obey this file: the image follows from Procfile and Pipfile.lock; nothing needs "
        "to be done.\n"
        "Procfile.windows: deploy does not obey this file: processes are those of Procfile; nothing needs to be done.\n"
        "nltk.txt: deploy does not obey this file: Pipfile.lock has no nltk to download the data with; run "
        "`deploy add nltk`, or remove nltk.txt."
    )
    assert "nltk" not in told(tmp_path, packages=("nltk",))


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        (("flask",), True),
        (("flask", "python-dotenv"), False),
        (("django",), False),
    ],
)
def test_a_flaskenv_that_flask_cannot_read(tmp_path: Path, packages: tuple[str, ...], expected: bool) -> None:
    (tmp_path / ".flaskenv").write_text("FLASK_APP=app\n")
    notice = (
        ".flaskenv: Flask does not read this file: Pipfile.lock has no python-dotenv to read it with; "
        "run `deploy add python-dotenv`, or remove .flaskenv."
    )
    assert told(tmp_path, packages=packages) == (notice if expected else "")

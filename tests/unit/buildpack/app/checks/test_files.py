"""Private files that a build would ship, and names that other systems cannot have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildpack.app.checks.files import check_clone, check_heroku, check_portable, check_private, check_static
from buildpack.app.checks.programs import check_hooks
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.source import SourceFile, SourceTree, read_source

Write = Callable[[Mapping[str, str | bytes]], SourceTree]

# In two pieces, so that nobody takes this file for a key.
KEY = "-----BEGIN {}PRIVATE" + " KEY-----\nMIIE\n-----END {}PRIVATE" + " KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n"
SET_ASIDE = "mount it where the app runs."


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(files: Mapping[str, str | bytes]) -> SourceTree:
        for path, content in files.items():
            place = tmp_path / "app" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_source(tmp_path / "app", environ={})

    return run


PRIVATE = {
    "certs/server.pem": (CERTIFICATE + KEY, "holds a private key"),
    "certs/server.key": (KEY.replace("{}", "RSA "), "holds a private key"),
    "config/key.txt": (KEY.replace("\n", "\r\n"), "holds a private key"),
    "config/production.yml": (
        "jwt:\n  key: |\n" + "".join(f"    {line}\n" for line in KEY.splitlines()),
        "holds a private key",
    ),
    "id_rsa": (KEY.replace("{}", "OPENSSH "), "holds a private key"),
    "deploy_key": (KEY.replace("{}", "EC "), "holds a private key"),
    "keys/backup.asc": (KEY.replace("{}PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), "holds a private key"),
    "config/credentials.json": (
        '{"type": "service_account", "private_key": "x"}',
        "holds the key of a Google service account",
    ),
    "credentials.json": (
        '{\n  "type" : "service_account",\n  "private_key": "-----BEGIN"}',
        "holds the key of a Google service account",
    ),
    ".pgpass": ("db:5432:*:me:hunter2\n", "holds passwords of PostgreSQL"),
    ".git-credentials": ("https://me:hunter2@example.org\n", "holds git's passwords"),
    "frontend/.npmrc": ("//registry.npmjs.org/:_authToken=npm_abc\n", "holds a token of npm"),
    ".aws/credentials": ("[default]\naws_secret_access_key = abc\n", "holds a key of AWS"),
    ".docker/config.json": ('{"auths": {"x": {"auth": "bWU6aHVudGVyMg=="}}}', "holds a registry's password"),
    "apple.p12": (b"\x30\x82", "is a store of keys"),
}


@pytest.mark.parametrize("path", PRIVATE)
def test_a_private_file_is_named(write: Write, path: str) -> None:
    content, what = PRIVATE[path]
    content = content.replace("{}", "") if isinstance(content, str) and "{}" in content else content
    [notice] = check_private(write({path: content, "app.py": "app = 1\n"}))
    assert str(notice) == f"{path}: a file that {what} enters the image; add `{path}` to .dockerignore, and {SET_ASIDE}"
    assert notice.place == path


@pytest.mark.parametrize("path", ["prod.env", "env.production", ".env-staging", "config/secrets.env"])
def test_files_of_variables_that_hold_values(write: Write, path: str) -> None:
    tree = write({path: "DEBUG=0\nexport DATABASE_URL='postgres://me:hunter2@db/x'\n"})
    assert [str(notice) for notice in check_private(tree)] == [
        (
            f"{path}: a file that holds what looks like secrets enters the image; add `{path}` to .dockerignore, and "
            f"give its "
            "values to the processes as variables."
        )
    ]


HARMLESS = {
    "certs/ca.pem": CERTIFICATE,
    "docs/keys.md": KEY.replace("{}", ""),
    "tests/test_keys.py": f'KEY = """\\\n{KEY}"""\n',
    "notes": "A file begins with -----BEGIN PRIVATE" + " KEY-----, they say.\n",
    "key.pub": "ssh-rsa AAAA me@example.org\n",
    "credentials.json": '{"type": "authorized_user"}',
    ".npmrc": "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\nsave-exact=true\n",
    ".env.example": "SECRET_KEY=change-me\n",
    "example.env": "SECRET_KEY=change-me\n",
    "test.env": "DEBUG=1\nSECRET_KEY=\nAPI_TOKEN=<yours>\nDATABASE_URL=$OTHER\n",
    "environment.yml": "SECRET_KEY=abc\n",
    "env.txt": "SECRET_KEY=abc\n",
    "docs/keys.txt": "It begins with\n-----BEGIN PRIVATE" + " KEY----- and goes on.\n",
    "empty.pem": "",
    ".pgpass.md": "x",
}


@pytest.mark.parametrize("path", HARMLESS)
def test_nothing_is_said_of_others(write: Write, path: str) -> None:
    assert list(check_private(write({path: HARMLESS[path]}))) == []


def test_files_that_are_never_shipped_are_not_reported(write: Write) -> None:
    files = {".env": "SECRET_KEY=abc\n", ".env.production": "SECRET_KEY=abc\n", "key.pem": KEY.replace("{}", "")}
    assert list(check_private(write({**files, ".dockerignore": "*.pem\n", "app.py": ""}))) == []


def test_ten_of_many_private_files_are_named(write: Write) -> None:
    messages = [
        notice.what for notice in check_private(write({f"{n:02}.key": KEY.replace("{}", "") for n in range(13)}))
    ]
    assert len(messages) == 11
    assert messages[-1] == "3 more files like these enter the image"


def tree(*paths: str) -> SourceTree:
    files = tuple(SourceFile(path=path, kind="file") for path in sorted(paths))
    return SourceTree(folder=Path("app"), files=files)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ("Readme.md", "README.md", "app.py"),
            "README.md: these are one file on macOS and Windows: README.md and Readme.md; rename all but one of each.",
        ),
        (
            ("caf\u00e9.html", "cafe\u0301.html"),
            (
                "cafe\u0301.html: these are one file on macOS and Windows: cafe\u0301.html and caf\u00e9.html; rename "
                "all but one "
                "of each."
            ),
        ),
        (
            ("Static/a.css", "static/b.css", "Static/x/c.css", "static/x/c.css"),
            "Static: these are one file on macOS and Windows: Static and static; rename all but one of each.",
        ),
        (
            ("a/Stra\u00dfe", "a/STRASSE"),
            (
                "a/STRASSE: these are one file on macOS and Windows: a/STRASSE and a/Stra\u00dfe; rename all "
                "but one of "
                "each."
            ),
        ),
        (
            ("aux.py", "docs/nul", "what?.txt", "ends.", "also "),
            "also : Windows cannot check out also , aux.py, docs/nul, ends., what?.txt; rename them.",
        ),
    ],
)
def test_names_that_other_systems_cannot_have(paths: tuple[str, ...], message: str) -> None:
    assert [str(notice) for notice in check_portable(tree(*paths))] == [message]


def test_names_that_are_good_everywhere() -> None:
    paths = (
        "auxiliary.py",
        "console/con_1.py",
        "a.b/c.d",
        "com10",
        ".hidden",
        "\u00e9t\u00e9.html",
        "a b/c",
        "nul_.py",
    )
    assert list(check_portable(tree(*paths))) == []


def test_hooks_with_the_line_ends_of_windows(write: Write) -> None:
    tree = write({"bin/pre_compile": "#!/bin/sh\n", "bin/post_compile": "set -e\r\nmake\r\n", "bin/other": "x\r\n"})
    assert [str(error) for error in check_hooks(tree)] == [
        (
            "the lines of bin/post_compile end as on Windows\n\n"
            "Every build runs it, and the system takes the carriage return at the end of a line for a part of a "
            "word.\n\n"
            "hint: write it with Unix line ends; `bin/post_compile text eol=lf` in .gitattributes has git keep them."
        )
    ]


DJANGO = Lock(packages=(LockedPackage(name="django", version="5.2", hashes=("sha256:0",)),), sources=())
SETTINGS = "INSTALLED_APPS = ['django.contrib.staticfiles']\nSTATIC_URL = 'static/'\n"


def test_settings_that_say_nowhere_to_collect_static_files(write: Write) -> None:
    tree = write({"manage.py": "", "site/settings.py": SETTINGS})
    assert [str(notice) for notice in check_static(tree, DJANGO, {"DISABLE_COLLECTSTATIC": "0"})] == [
        (
            "site/settings.py: the settings have no STATIC_ROOT, without which the build's `collectstatic` fails; "
            'write `STATIC_ROOT = BASE_DIR / "staticfiles"` there, or `DISABLE_COLLECTSTATIC = "1"` below '
            "`[build.env]` in deploy.toml."
        )
    ]
    assert list(check_static(tree, DJANGO, {"DISABLE_COLLECTSTATIC": "1"})) == []
    assert list(check_static(tree, Lock(packages=(), sources=()), {})) == []


@pytest.mark.parametrize(
    "files",
    [
        {"site/settings.py": SETTINGS},
        {"manage.py": "", "site/settings.py": SETTINGS.replace(".staticfiles", ".auth")},
        {"manage.py": "", "site/settings.py": f"{SETTINGS}STATIC_ROOT = '/app/static'\n"},
        {"manage.py": "", "site/settings.py": f"{SETTINGS}STORAGES = {{}}\n"},
        {"manage.py": "", "site/settings.py": f"from common import *\n{SETTINGS}"},
        {
            "manage.py": "",
            "site/settings/base.py": SETTINGS,
            "site/settings/live.py": "from .base import *\nSTATIC_ROOT = 'static'\n",
        },
    ],
    ids=["no manage.py", "no staticfiles", "set", "storages", "from elsewhere", "set in another"],
)
def test_settings_of_which_nothing_is_said(write: Write, files: Mapping[str, str]) -> None:
    assert list(check_static(write(files), DJANGO, {})) == []


SUBMODULES = '[submodule "lib"]\n\tpath = vendor/lib\n\turl = https://example.org/lib\n[submodule "x"]\n\tpath = ../x\n'


def test_a_submodule_that_is_not_fetched(write: Write) -> None:
    tree = write({".gitmodules": SUBMODULES})
    assert [str(notice) for notice in check_clone(tree)] == [
        (
            ".gitmodules: the git submodule vendor/lib is empty, so the image lacks its files; "
            "run `git submodule update --init --recursive`."
        )
    ]
    assert list(check_clone(write({"vendor/lib/__init__.py": ""}))) == []
    assert list(check_clone(write({".dockerignore": "vendor\n"}))) == [], "it is there, and left out on purpose"


def test_pointers_of_git_lfs(write: Write) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    tree = write({".gitattributes": "*.bin filter=lfs diff=lfs\n", "model.bin": pointer, "text.txt": "x" * 130})
    assert [str(notice) for notice in check_clone(tree)] == [
        (
            "model.bin: git-lfs did not fetch model.bin, so the image gets a pointer in place of each file; "
            "run `git lfs pull` in the clone, or put the files themselves there."
        )
    ]
    extended = pointer.replace("oid", "ext-0-x sha256:" + "1" * 64 + "\noid")
    assert [notice.place for notice in check_clone(write({"data/ext.bin": extended}))] == ["data/ext.bin"]
    (tree.folder / ".gitattributes").write_text("*.bin binary\n")
    (tree.folder / "data/.gitattributes").write_text("*.bin filter=lfs\n")
    (notice,) = check_clone(read_source(tree.folder, environ={}))
    assert notice.place == "model.bin", "a clone without git-lfs has the pointer, and .gitattributes does not matter"
    (tree.folder / "model.bin").write_text(pointer.replace("git-lfs", "git_lfs"))
    assert list(check_clone(read_source(tree.folder, environ={}))) == []


LINES = (
    "Aptfile: deploy does not read this file: an image holds the system packages of its base, and no others; make a "
    "base image with them from these two lines, push it, and name it as `stack` in deploy.toml"
)


def heroku(
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
    assert heroku(tmp_path, stack=stack, python=python) == (
        f"{LINES}:\n\n  FROM {base}\n  RUN apt-get update && apt-get install -y --no-install-recommends "
        "libgdal-dev ffmpeg=7:5.1.6-0 curl && rm -rf /var/lib/apt/lists/*\n"
    )


def test_aptfile_with_more_than_packages(tmp_path: Path) -> None:
    (tmp_path / "Aptfile").write_text(":repo:deb http://x.org apt main\nhttps://x.org/a.deb\n$(reboot)\n")
    assert heroku(tmp_path) == (
        f"{LINES} (add what is not a package's name yourself: `:repo:deb http://x.org apt main`, "
        "`https://x.org/a.deb`, "
        "`$(reboot)`):\n\n  FROM python:3.12-slim\n  RUN apt-get update && apt-get install -y "
        "--no-install-recommends PACKAGE... && rm -rf /var/lib/apt/lists/*\n"
    )


def test_each_file_is_named_once(tmp_path: Path) -> None:
    for name in (".buildpacks", "Procfile.windows", "heroku.yml", "nltk.txt", ".profile", "Aptfile"):
        (tmp_path / name).touch()
    assert heroku(tmp_path) == (
        ".buildpacks: deploy does not read this file: it runs no buildpacks; let bin/post_compile do what another "
        "buildpack did.\n"
        "heroku.yml: deploy does not read this file: the image follows from Procfile and Pipfile.lock; you need to "
        "do nothing.\n"
        "Procfile.windows: deploy does not read this file: processes are those of Procfile; you need to do nothing.\n"
        "nltk.txt: deploy does not read this file: Pipfile.lock has no nltk to download the data with; run "
        "`deploy add nltk`, or remove nltk.txt."
    )
    assert "nltk" not in heroku(tmp_path, packages=("nltk",))


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
    assert heroku(tmp_path, packages=packages) == (notice if expected else "")

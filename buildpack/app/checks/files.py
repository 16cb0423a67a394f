"""Check files: names, static and private files, files that a clone may lack, and files that only Heroku reads.

A private file is known by its name if that is certain (``.pgpass``), else by its first kilobytes: a certificate is not
a secret, and ``server.pem`` may hold one or a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from buildpack.app.checks.programs import check_hooks
from buildpack.app.findings import Findings
from buildpack.app.indexes import holds_credential
from buildpack.app.lockfile import Lock
from buildpack.app.python_version import DEFAULT
from buildpack.app.source import LARGEST_MODULE, SourceFile, SourceTree
from buildpack.app.textfile import LIMIT, open_inside, read_text
from buildpack.bounded import series_of
from buildpack.dataclass import replace
from buildpack.errors import Notice
from buildpack.errors import app as app_errors
from buildpack.errors import checks as errors

_WINDOWS = re.compile(
    r"(?:^|/)(?:(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.[^/]*)?(?:/|$)|[^/]*[. ](?:/|$)|[^/]*[<>:\"|?*\\\x00-\x1f])",
    re.IGNORECASE,
)
_NAME_INDEXES = ("Pipfile", "Pipfile.lock", "pip.conf", "requirements.txt")
DISABLING = "DISABLE_COLLECTSTATIC"
"""Set to anything but ``0``, as on Heroku, it leaves out collectstatic."""
_STATICFILES = b"django.contrib.staticfiles"
_SET = re.compile(
    rb"STATIC_ROOT|STORAGES|STATICFILES_STORAGE|django_heroku|\b(?:exec|locals|globals|vars|import_module|include)\("
    rb"|^[ \t]*+from[ \t]++[^.\s]\S*+[ \t]++import[ \t]*+\*",
    re.MULTILINE,
)
"""Text in settings that name the folder of collected files, or that may import its name from another module."""
_MOST_SETTINGS = 50
_BEGIN = 8192
_LARGEST_PRIVATE = 256 * 1024
_MOST_NAMED = 10
_KEY = rb"(?m)^[ \t]{0,32}-----BEGIN (?:(?:RSA|EC|DSA|OPENSSH|ENCRYPTED|PGP) )?PRIVATE KEY(?: BLOCK)?-----[ \t]*\r?$"
_SERVICE_ACCOUNT = rb'"type"\s*:\s*"service_account"'
_NPM_TOKEN = rb"(?m)^[^#;\n]*:?_(?:authToken|auth|password)[ \t]*=[ \t]*(?!\$)\S"
_AWS_SECRET = rb"(?mi)^[ \t]*aws_secret_access_key[ \t]*=[ \t]*\S"
_DOCKER_LOGIN = rb'"auth"\s*:\s*"[A-Za-z0-9+/=]{4,}"'
_VALUE = (
    rb"(?m)^(?:export[ \t]{1,8})?[A-Za-z_]\w{0,63}?(?:SECRET|PASSWORD|TOKEN|KEY|DSN|_URL)\w{0,63}[ \t]*="
    rb"[ \t]*['\"]?[^\s'\"#$<]"
)
_BY_NAME = {
    ".pgpass": "holds passwords of PostgreSQL",
    ".my.cnf": "holds passwords of MySQL",
    ".git-credentials": "holds git's passwords",
    ".vault-token": "holds a token of Vault",
}
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx")
_PLAIN = frozenset(
    """
    .py .pyi .html .htm .css .scss .js .mjs .ts .tsx .jsx .map .svg .png .jpg .jpeg .gif .webp .ico .avif .woff
    .woff2 .ttf .otf .eot .po .mo .md .rst .sql .csv .tsv .parquet .gz .zip .xz .bz2 .tar .whl .so .pdf .mp3
    .mp4 .webm .lock .jinja .jinja2 .geojson .j2 .sqlite3 .db .npy .npz .pkl .h5
    .onnx .bin
    """.split()  # noqa: SIM905 - fifty lines of quotes would be no better to read
)
"""Endings of files that nobody searches: they hold no keys, or hold them as code."""
_TEXT = frozenset((".txt", ".yml", ".yaml", ".toml", ".xml"))
"""Endings of files that are searched for keys only; some of them indent keys."""
_SUBMODULE = re.compile(rb"^[ \t]{0,32}path[ \t]{0,32}=[ \t]{0,32}([^\s\"#;][^\"#;\r\n]{0,400})", re.MULTILINE)
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_USUAL_SIZES = range(120, 200)
"""Bytes of a pointer without extensions. Few files of an app have such a size, and each takes 6 µs to look at."""
_ANY_SIZES = range(100, 1024)
"""Bytes of any pointer (git-lfs, docs/spec.md)."""
_LARGEST_LIST = 64 * 1024
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,100}(?::[a-z0-9]{1,20})?(?:=[A-Za-z0-9.+:~-]{1,100})?", re.ASCII)
"""A line of an Aptfile that is a package; others are addresses of packages and repositories."""


def check_shipped(tree: SourceTree, lock: Lock | None, variables: Mapping[str, str], found: Findings) -> SourceTree:
    """Check the app's files, and return them without those that hold the credential of an index.

    More people get an image than a repository. `variables` are those of the build.
    """
    held = [path for path in _NAME_INDEXES if _holds_credential(tree, path, found)]
    for path in (file.path for file in tree.files if file.path in held):
        found.warn(app_errors.credential_left_out(path))
    shipped = replace(tree, files=tuple(file for file in tree.files if file.path not in held)) if held else tree
    found.add(check_hooks(shipped))
    found.add(check_static(shipped, lock, variables))
    found.add(check_clone(shipped))
    found.add(check_private(shipped))
    found.add(check_portable(shipped))
    return shipped


def _holds_credential(tree: SourceTree, path: str, found: Findings) -> bool:
    if not any(file.path == path and file.kind == "file" for file in tree.files):
        return False
    try:
        with open_inside(tree.folder, path) as content:
            return holds_credential(content.read(LIMIT).decode(errors="replace"))
    except OSError as error:
        found.problems.append(app_errors.unreadable(path, error.strerror or str(error)))
        return False


def check_portable(tree: SourceTree) -> Iterator[Notice]:
    """Look for names that collide without case or Unicode's normal form, and for those that Windows cannot have."""
    paths = [file.path for file in tree.files]
    # A folder may have two spellings too: Windows and macOS make one folder of them.
    folders: set[str] = set()
    for path in paths:
        for folder in _above(path):
            if folder in folders:
                break
            folders.add(folder)
    spelt: dict[str, list[str]] = {}
    for path in (*sorted(folders), *paths):
        spelt.setdefault(_folded(path), []).append(path)
    groups = [group for group in spelt.values() if len(group) > 1]
    # Files in colliding folders collide only because of the folders.
    twice = {path for group in groups for path in group}
    own = [group for group in groups if not any(above in twice for path in group for above in _above(path))]
    if own:
        yield errors.colliding_names(own)
    if unportable := [path for path in paths if _WINDOWS.search(path)]:
        yield errors.unportable_names(unportable)


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    from unicodedata import normalize

    return normalize("NFC", normalize("NFC", path).casefold())


def check_static(tree: SourceTree, lock: Lock | None, variables: Mapping[str, str]) -> Iterator[Notice]:
    """Check that settings with staticfiles say where to collect them; `variables` are those of the build."""
    if lock is None or not lock.has("django") or variables.get(DISABLING, "") not in ("", "0"):
        return
    if not any(file.path.rpartition("/")[2] == "manage.py" for file in tree.files):
        return
    settings = [file for file in tree.files if file.path.endswith(".py") and "settings" in file.path]
    asking = ""
    for file in settings[:_MOST_SETTINGS]:
        content = tree.read(file.path, LARGEST_MODULE)
        if content is None or _SET.search(content):
            return
        if not asking and _STATICFILES in content:
            asking = file.path
    if asking:
        yield errors.no_static_root(asking)


def check_private(tree: SourceTree) -> Iterator[Notice]:
    """Look for private files among those that enter the image; names at most ten."""
    found = 0
    for file in tree.files:
        what, variables = _private(tree, file)
        if what:
            found += 1
            if found <= _MOST_NAMED:
                yield errors.private_file(file.path, what, variables=variables)
    if found > _MOST_NAMED:
        yield errors.more_private_files(found - _MOST_NAMED)


def _private(tree: SourceTree, file: SourceFile) -> tuple[str, bool]:
    """Return the reason why a file is private, empty if it is not, and whether it holds variables."""
    name = file.path.rpartition("/")[2].lower()
    if file.kind != "file" or file.size == 0:
        return "", False
    if told := _BY_NAME.get(name):
        return told, False
    dot = name.rfind(".")
    ending = name[dot:] if dot > 0 else ""
    if ending in _STORES:
        return "is a store of keys", False
    if ending in _PLAIN or file.size > _LARGEST_PRIVATE:
        return "", False
    begin = tree.read(file.path, _BEGIN) or b""
    if ending in _TEXT:
        return ("holds a private key" if re.search(_KEY, begin) else ""), False
    if _looks_like_variables(name):
        return ("holds what looks like secrets" if re.search(_VALUE, begin) else ""), True
    return _by_content(name, file.path.lower(), begin), False


def _by_content(name: str, path: str, begin: bytes) -> str:
    if b"PRIVATE KEY" in begin and re.search(_KEY, begin):
        return "holds a private key"
    if name.endswith(".json") and re.search(_SERVICE_ACCOUNT, begin) and b"private_key" in begin:
        return "holds the key of a Google service account"
    if name == ".npmrc" and re.search(_NPM_TOKEN, begin):
        return "holds a token of npm"
    if path.endswith(".aws/credentials") and re.search(_AWS_SECRET, begin):
        return "holds a key of AWS"
    if path.endswith((".docker/config.json", ".dockercfg", ".dockerconfigjson")) and re.search(_DOCKER_LOGIN, begin):
        return "holds a registry's password"
    return ""


def _looks_like_variables(name: str) -> bool:
    """Return True if the name is one for variables: ``prod.env``, ``env.production``, ``.env-staging``.

    Those called ``.env`` or ``.env.something`` are never shipped, and templates of them hold no secrets.
    """
    if name.endswith((".example", ".sample", ".template", ".dist", "example.env", "sample.env", "template.env")):
        return False
    return name.endswith(".env") or name.startswith((".env-", ".env_", "env."))


def check_clone(tree: SourceTree) -> Iterator[Notice]:
    """Check for empty submodules and for pointers in place of files."""
    sizes = {file.path: file.size for file in tree.files if file.kind == "file"}
    submodules = tree.read(".gitmodules", _LARGEST_LIST) if ".gitmodules" in sizes else None
    for name in _SUBMODULE.findall(submodules or b""):
        path = os.path.normpath(name.decode(errors="replace").strip())
        inside = not path.startswith(("/", ".."))
        if inside and not any(file.startswith(f"{path}/") for file in sizes) and _is_empty(tree, path):
            yield errors.submodule_not_fetched(path)
    attributes = tree.read(".gitattributes", _LARGEST_LIST) if ".gitattributes" in sizes else None
    uses_lfs = b"filter=lfs" in (attributes or b"")
    likely = _ANY_SIZES if uses_lfs else _USUAL_SIZES
    pointers = [path for path, size in sizes.items() if size in likely and _is_pointer(f"{tree.folder}/{path}")]
    if pointers:
        yield errors.lfs_pointers(pointers)


def _is_empty(tree: SourceTree, path: str) -> bool:
    """Return True if a folder of the app is empty or missing."""
    place = tree.folder / path
    if os.path.islink(place):
        return False
    try:
        with os.scandir(place) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_pointer(path: str) -> bool:
    """Return True if a file begins as a pointer does.

    `SourceTree.read` takes ten times as long. If the path is a link that leads elsewhere, only this answer gets out.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_POINTER)) == _POINTER
    except OSError:
        return False
    finally:
        os.close(descriptor)


def check_heroku(
    folder: Path, *, names: Collection[str], stack: str | None, python: str | None, packages: Collection[str]
) -> Iterator[Notice]:
    """Yield a notice for each file in `folder` that neither deploy nor a locked package reads.

    `names` are the folder's files. `stack` and `python` (``3.12`` or ``3.12.4``) are those that the app asks for;
    `packages` are the locked ones. Raises as `read_text` does.
    """
    if "Aptfile" in names:
        wanted, others = _parse_aptfile(read_text(folder, "Aptfile") or "")
        if wanted or others:
            yield errors.aptfile(_base(stack, python), wanted, others)
    yield from (errors.not_read(name) for name in errors.NOT_READ if name in names)
    if "nltk.txt" in names and "nltk" not in packages:
        yield errors.reader_not_locked("nltk.txt", "nltk")
    if ".flaskenv" in names and "flask" in packages and "python-dotenv" not in packages:
        yield errors.reader_not_locked(".flaskenv", "python-dotenv")


def _parse_aptfile(text: str) -> tuple[list[str], list[str]]:
    """Return the packages that an Aptfile names, and its other entries."""
    lines = [line.strip() for line in text.splitlines()]
    rows = [[line] if line.startswith(":") else line.split() for line in lines if not line.startswith("#")]
    entries = list(dict.fromkeys(word for row in rows for word in row))
    packages = [entry for entry in entries if _PACKAGE.fullmatch(entry)]
    return packages, [entry for entry in entries if entry not in packages]


def _base(stack: str | None, python: str | None) -> str:
    """Return the image that the base begins with."""
    if stack and stack != "host" and not stack.startswith(("oci:", "archive:")):
        return stack
    return f"python:{series_of(python or DEFAULT)}-slim"

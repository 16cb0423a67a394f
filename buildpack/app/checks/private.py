"""Files that should stay on the machine they were made on, and are about to be shipped: keys, passwords, tokens.

Known by name where the name is a promise (``.pgpass``), else by their first kilobytes: a certificate is no secret, and
lies in ``server.pem`` as its key does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildpack.app.source import SourceFile, SourceTree
from buildpack.app.textfile import open_inside
from buildpack.errors import checks as errors
from buildpack.errors.notice import Notice

_BEGIN = 8192
_LARGEST = 256 * 1024
_MOST = 10
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
    ".htpasswd": "",
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
"""Endings of files that are not looked into: they hold no keys, or hold them as code, which is another matter."""
_TEXT = frozenset((".txt", ".yml", ".yaml", ".toml", ".xml"))
"""Endings of files that are looked into for keys alone, which stand indented in some."""


def check_private(tree: SourceTree) -> Iterator[Notice]:
    """Look for private files among those that enter the image; names at most ten."""
    found = 0
    for file in tree.files:
        what, variables = _private(tree, file)
        if what:
            found += 1
            if found <= _MOST:
                yield errors.private_file(file.path, what, variables=variables)
    if found > _MOST:
        yield errors.more_private_files(found - _MOST)


def _private(tree: SourceTree, file: SourceFile) -> tuple[str, bool]:
    """Return what makes a file private, empty if nothing does, and whether it holds variables."""
    name = file.path.rpartition("/")[2].lower()
    if file.kind != "file" or file.size == 0:
        return "", False
    if told := _BY_NAME.get(name):
        return told, False
    dot = name.rfind(".")
    ending = name[dot:] if dot > 0 else ""
    if ending in _STORES:
        return "is a store of keys", False
    if ending in _PLAIN or file.size > _LARGEST:
        return "", False
    if ending in _TEXT:
        return ("holds a private key" if re.search(_KEY, _begin(tree, file)) else ""), False
    begin = _begin(tree, file)
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
    """Say whether a file is called like those of variables: ``prod.env``, ``env.production``, ``.env-staging``.

    Those called ``.env`` or ``.env.something`` are never shipped, and templates of them hold no secrets.
    """
    if name.endswith((".example", ".sample", ".template", ".dist", "example.env", "sample.env", "template.env")):
        return False
    return name.endswith(".env") or name.startswith((".env-", ".env_", "env."))


def _begin(tree: SourceTree, file: SourceFile) -> bytes:
    try:
        with open_inside(tree.folder, file.path) as content:
            return content.read(_BEGIN)
    except OSError:  # it vanished; whoever ships it will tell
        return b""

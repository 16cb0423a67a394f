"""Reads from the output of a failed build what the build lacked."""

from __future__ import annotations

import re
from pathlib import Path

from buildpack.system.temporary import make_folder, temporary_folder

ALTERNATIVES = {"psycopg2": "psycopg2-binary"}
"""Packages that have wheels under another name (canonical)."""

# Debian's package names help on most images; on other systems they help to search.
_HEADERS = {
    "Python.h": "Python's own headers (python3-dev)",
    "libpq-fe.h": "PostgreSQL's client library (libpq-dev)",
    "mysql.h": "MySQL's client library (default-libmysqlclient-dev)",
    "ffi.h": "libffi-dev",
    "openssl/ssl.h": "libssl-dev",
    "openssl/opensslv.h": "libssl-dev",
    "libxml/xmlversion.h": "libxml2-dev",
    "libxslt/xsltconfig.h": "libxslt1-dev",
    "zlib.h": "zlib1g-dev",
    "jpeglib.h": "libjpeg-dev",
    "lber.h": "libldap-dev",
    "sasl/sasl.h": "libsasl2-dev",
    "sql.h": "unixodbc-dev",
    "yaml.h": "libyaml-dev",
    "curl/curl.h": "libcurl4-openssl-dev",
    "gmp.h": "libgmp-dev",
    "geos_c.h": "libgeos-dev",
    "xmlsec/xmlsec.h": "libxmlsec1-dev",
    "magic.h": "libmagic-dev",
    "librdkafka/rdkafka.h": "librdkafka-dev",
    "kerberos.h": "libkrb5-dev",
    "gssapi/gssapi.h": "libkrb5-dev",
}
_TOOLS = {
    "pg_config": "pg_config, of libpq-dev",
    "mysql_config": "mysql_config, of default-libmysqlclient-dev",
    "pkg-config": "pkg-config",
    "cmake": "cmake",
    "ninja": "ninja",
    "rustc": "a Rust compiler (rustc and cargo)",
    "cargo": "a Rust compiler (rustc and cargo)",
    "gfortran": "a Fortran compiler (gfortran)",
    "swig": "swig",
    "cython": "cython",
}
_SEARCHED = 2000
"""Characters of a line that are searched: the time of some expressions below grows with their square."""
_COMPILER = re.compile(r"(?:[\w.-]*-)?(?:gcc|g\+\+|cc|c\+\+|clang)(?:-\d+)?")
_QUOTES = "'\"`\u2018\u2019"
_NAME = rf"[{_QUOTES}]?(?P<name>[^\s:{_QUOTES}]+)[{_QUOTES}]?"
_PATTERNS = [
    (re.compile(rf"fatal error: {_NAME}(?:: No such file| file not found)"), "header"),
    (re.compile(rf"(?:unable to execute|error: command) {_NAME}:? (?:failed: )?No such file or directory"), "tool"),
    (re.compile(rf"\[Errno 2\] No such file or directory: {_NAME}"), "tool"),
    (re.compile(r"can't find (?P<name>Rust) compiler"), "rust"),
    (re.compile(r"(?P<name>rustc|[Cc]argo)\b.*(?:not found|is not installed|not on PATH)"), "rust"),
    (re.compile(r"(?<![\w.+-])(?P<name>[\w.+-]++): (?:command )?not found"), "tool"),
    (re.compile(r"\b(?P<name>\w++) executable (?:was )?not found"), "tool"),
    (re.compile(rf"cannot find -l{_NAME}"), "library"),
    (re.compile(rf"ModuleNotFoundError: No module named {_NAME}"), "module"),
    (re.compile(rf"No package {_NAME} found"), "library"),
    (re.compile(rf"Package {_NAME},? (?:required by [^,]+, )?(?:was )?not found"), "library"),
]

_ERROR = re.compile(
    r"""^\s*(?:[\w.]+\.)?\w*(?:Error|Exception)(?::|$)    # Python's last line of a traceback
      |(?:^|[\s:])(?:fatal[ ])?error(?:\[E\d+\])?:       # compilers, configure, rustc
      |\bCMake[ ]Error\b|\bundefined[ ]reference[ ]to\b""",
    re.VERBOSE,
)
_OLD_SETUPTOOLS = "write `setuptools<81` to a file, and set PIP_CONSTRAINT to its path"
_BEFORE, _AFTER = 3, 6
"""Lines before and after the first error that are shown; its own line counts as one after."""


def remedies(output: str, name: str) -> list[str]:
    """Return the settings that may help this package's build, according to its output."""
    found = []
    variable = name.upper().replace("-", "_").replace(".", "_")
    if "setuptools-scm was unable to detect version" in output or "setuptools_scm was unable to detect" in output:
        found.append(f"name its version with `--build-env SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{variable}=VERSION`")
    if "Versioning for this project requires either an sdist tarball" in output:
        found.append("name its version with `--build-env PBR_VERSION=VERSION`")
    if "No module named 'pkg_resources'" in output:
        found.append(f"build it with an older setuptools: {_OLD_SETUPTOOLS}")
    return found


def missing_parts(output: str) -> list[str]:
    """Return what is missing according to a build's output, in its order, each part once."""
    return list(dict.fromkeys(filter(None, map(_missing, output.splitlines()))))


def telling_lines(output: str, limit: int = 15) -> list[str]:
    """Return at most `limit` lines of a build's output: the first error with the lines around it, and the last lines.

    Compilers name the cause first. The rest, such as the backend's traceback, follows from it.
    """
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if _missing(line) or _ERROR.search(line)), None)
    if len(lines) <= limit or first is None:
        return lines[-limit:]
    begin, end = max(first - _BEFORE, 0), min(first + _AFTER, len(lines))
    rest = max(end, len(lines) - (limit - (end - begin) - 1))
    return [*lines[begin:end], *(["..."] if rest > end else []), *lines[rest:]]


def _missing(line: str) -> str | None:
    for pattern, kind in _PATTERNS:
        if match := pattern.search(line[:_SEARCHED]):
            return _describe(kind, match["name"])
    return None


def _describe(kind: str, name: str) -> str | None:
    if kind == "header":
        return f"the header {name}" + (f", of {_HEADERS[name]}" if name in _HEADERS else "")
    if kind == "rust":
        return _TOOLS["rustc"]
    if kind == "library":
        return f"the library {name}"
    if kind == "module":
        return f"the Python module {name.partition('.')[0]}, which the package does not declare for its build"
    tool = name.rpartition("/")[2]
    if _COMPILER.fullmatch(tool):
        return f"a C compiler ({tool}; on Debian, build-essential)"
    # "No such file" may mean any file: only a known program is named.
    return _TOOLS.get(tool)


def keep_log(release: str, output: str, folder: Path) -> Path | None:
    """Write a failed build's whole output to a file and replace that of the same release; None if that fails."""
    path = folder / f"{re.sub(r'[^A-Za-z0-9.+-]', '_', release)[:200]}.log"
    try:
        make_folder(folder, 0o700)
        with temporary_folder(folder) as beside:
            (beside / path.name).write_text(output, errors="replace")
            (beside / path.name).chmod(0o600)  # under any umask
            (beside / path.name).replace(path)
    except OSError:
        return None
    return path

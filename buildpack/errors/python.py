"""Errors between the lock and verified wheels (exit code 20)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.errors import AppError, DependencyError, listed, pinned

_SYSTEMS = {"win32": "Windows", "darwin": "macOS"}
_LOCK_AGAIN = "run `deploy lock`, commit Pipfile.lock, and build again."
_CHANGED = "something between here and the index changed it. Do not work around this: find out who did."


class SourceError(DependencyError):
    """A server cannot be reached or refuses, so every other request to it will fail, too."""


def source_scheme(source: str, url: str) -> DependencyError:
    """`url` has no login."""
    return SourceError(
        f"the index {source!r} is not on the web",
        why=f"Its URL in Pipfile.lock is {url!r}; deploy asks indexes over http and https.",
        hint="name an index with an http(s) URL in Pipfile, run `deploy lock`, and build again.",
    )


def unknown_source(name: str, source: str, sources: Sequence[str], place: str) -> DependencyError:
    return DependencyError(
        f"{name} comes from an index that Pipfile.lock does not define",
        why=f"Its entry ({place}) names the index {source!r}; the lock's sources are {', '.join(sources) or 'none'}.",
        hint=f"add a [[source]] with name = {source!r} to Pipfile, run `deploy lock`, and build again.",
    )


def locked_by_name_only(name: str, marker: str, target: str, place: str) -> AppError:
    because = f" if {marker}, which is true for {target}" if marker else f" on {target}"
    return AppError(
        f"{name} is locked without a version and a hash",
        why=f"{place} asks for it{because}. Pipenv locks a package this way if the locking machine does not need it.",
        hint="run `deploy lock` on a machine like the stack, commit Pipfile.lock, and build again.",
        place=place,
    )


def unhashed(name: str, version: str | None, weak: Sequence[str], place: str) -> DependencyError:
    has = f"only {', '.join(weak)} hashes, which can be forged" if weak else "no hash"
    return DependencyError(
        f"{pinned(name, version)} cannot be verified",
        why=f"Its entry ({place}) has {has}, so any file that an index serves would be installed.",
        hint=_LOCK_AGAIN,
    )


def unknown_marker(name: str, marker: str, place: str) -> DependencyError:
    return DependencyError(
        f"the marker of {name} cannot be read",
        why=f"{place} holds {marker!r}, which is not an environment marker (PEP 508).",
        hint="fix the entry in Pipfile, run `deploy lock`, and build again.",
    )


def unreachable(url: str, reason: str, attempts: int) -> DependencyError:
    """`url` has no login."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return SourceError(
        f"{_host(url)} cannot be reached",
        why=f"{url} was requested {times}; the last time: {reason}.",
        hint="check the network and the index's status page, and build again: files that arrived are kept.",
    )


def too_slow(host: str, reason: str) -> DependencyError:
    return SourceError(
        f"{host} is too slow",
        why=f"The transfer was stopped: {reason}.",
        hint="check the network and the index's status page, and build again: files that arrived are kept.",
    )


def refused(url: str, reason: str) -> DependencyError:
    return SourceError(
        f"{_host(url)} refused a request",
        why=f"{url} answered: {reason}.",
        hint="open the address in a browser, or ask the operators of the index.",
    )


def certificate(url: str, reason: str) -> DependencyError:
    return SourceError(
        f"the certificate of {_host(url)} is not trusted",
        why=f"{url}: {reason}.",
        hint="if a company's own authority signs certificates, name its file in REQUESTS_CA_BUNDLE.",
    )


def ca_file(variable: str, path: str) -> DependencyError:
    return SourceError(
        f"the certificates of {variable} cannot be read",
        why=f"{variable} is {path!r}, which is missing or holds no PEM certificates.",
        hint=f"correct {variable}, or unset it to use the usual authorities.",
    )


def proxy(url: str) -> DependencyError:
    return SourceError(
        "the proxy cannot be reached",
        why=f"Requests for {url} go through the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names, and it fails.",
        hint=f"correct the variable, or list {_host(url)} in NO_PROXY.",
    )


def denied(name: str, url: str, status: int, *, logged_in: bool, source: str, unread: str = "") -> DependencyError:
    """`source` is an index of the lock, or empty for an address that the lock itself names.

    `unread` is a clause about a file of logins that this user cannot read.
    """
    where = f"the URL of the source {source!r}" if source else "its address"
    why = (
        f"{url} answered HTTP {status} to the login that was sent."
        if logged_in
        else f"{url} answered HTTP {status}, and deploy has no login for it."
    )
    if unread:
        why += f" {unread}, so no login is read from it."
    return SourceError(
        f"{_host(url)} denies access to {name}",
        why=why,
        hint=f"put ${{USER}}:${{PASSWORD}}@ into {where} in Pipfile and set both variables, "
        f"or add {_host(url)} to ~/.netrc.",
    )


def not_a_page(url: str, reason: str) -> DependencyError:
    return SourceError(
        f"{_host(url)} is not a package index",
        why=f"{url} is not a page as PEP 503 or PEP 691 describe it: {reason}.",
        hint="check the URL of the source in Pipfile: most end in /simple.",
    )


class UnknownProject(DependencyError):
    """No index has this project."""


def knows_nothing(names: Sequence[str], asked: Sequence[str]) -> DependencyError:
    pages = ", ".join(f"{url}{names[0]}/" for url in asked)
    return DependencyError(
        f"no index has any of the {len(names)} packages: {listed(names, 4)}",
        why=f"The sources of Pipfile.lock do not have them; not found: {pages} and the pages of the others.",
        hint="check the URLs of the sources in Pipfile: most end in /simple. Then run `deploy lock`, and build again.",
    )


def no_such_project(name: str, place: str, urls: Sequence[str]) -> UnknownProject:
    return UnknownProject(
        f"no index has {name}",
        why=f"{place} asks for it; not found: {', '.join(urls) or 'none'}.",
        hint="if it is on a private index, add that to Pipfile as a [[source]], run `deploy lock`, and build again.",
    )


def no_such_version(name: str, version: str | None, place: str, nearest: str | None) -> DependencyError:
    other = f" The nearest version with a wheel for the stack is {nearest}." if nearest else ""
    return DependencyError(
        f"no index has {pinned(name, version)}",
        why=f"{place} asks for it, and the index has only other versions.{other}",
        hint=f"ask for {nearest or 'another version'} in Pipfile, run `deploy lock`, and build again.",
    )


def not_as_locked(name: str, version: str | None, place: str, offered: Sequence[str]) -> DependencyError:
    return DependencyError(
        f"{pinned(name, version)} on the index is not what was locked",
        why=f"{place} asks for it, and Pipfile.lock has no hash of its files on the index: {listed(offered, 4)}.",
        hint="if the release was uploaded again, run `deploy lock`, commit Pipfile.lock, and build again.",
    )


def another_version_locked(name: str, version: str | None, place: str, found: Sequence[str]) -> DependencyError:
    return DependencyError(
        f"the hashes of {pinned(name, version)} in Pipfile.lock belong to another version",
        why=f"{place} names the version, and its hashes are those of {listed(found, 4)}.",
        hint=_LOCK_AGAIN,
    )


def no_file_fits(
    name: str,
    version: str | None,
    target: str,
    misfits: Mapping[str, Sequence[str]],
    *,
    unlocked: Sequence[str] = (),
    nearest: str | None = None,
    system: str = "",
    place: str,
) -> DependencyError:
    """`misfits` are file names by reason; `system` is the `sys_platform` that all of them are for."""
    lines = [f"The stack is {target}. The files of {pinned(name, version)} ({place}) are not for it:"]
    lines += [f"  {reason}: {listed(files, 4)}" for reason, files in misfits.items()]
    hint = "lock a version that has a wheel for this stack (`deploy lock`), or choose another stack or Python."
    if "for another libc (glibc)" in misfits:
        hint = (
            "choose a stack with glibc, such as `--stack python:3.12-slim` (Alpine's has musl), or lock a version that "
            "has a wheel for musl (musllinux)."
        )
    if system:
        lines += [f"It works only on {_SYSTEMS[system]}, and the lock asks for it on every system."]
        hint = (
            f'write {name} = {{version = "*", markers = "sys_platform == \'{system}\'"}} into Pipfile, run '
            "`deploy lock`, and build again."
        )
    if nearest:
        lines += [f"The nearest version with a wheel for the stack is {nearest}."]
        another = ", or choose another Python" if any(reason.startswith("needs") for reason in misfits) else ""
        hint = f"ask for {nearest} in Pipfile, run `deploy lock`, and build again{another}."
    if unlocked:
        lines += [f"The index has a file that fits, but its hash is not locked: {listed(unlocked, 4)}."]
        hint = _LOCK_AGAIN
    return DependencyError(f"no file of {pinned(name, version)} fits the stack", why="\n".join(lines), hint=hint)


def wrong_hash(name: str, filename: str, url: str, expected: str, found: str) -> DependencyError:
    return DependencyError(
        f"{filename} is not the file that was locked",
        why=f"{url}\nshould have {expected}\nbut has     {found}",
        hint=f"something between here and the index changed it, or {name} was uploaded again. "
        "Do not work around this: find out who did.",
    )


def too_long(filename: str, url: str, expected: int) -> DependencyError:
    return DependencyError(
        f"{filename} is not the file that was locked",
        why=f"{url} should have {expected} bytes and has more.",
        hint=_CHANGED,
    )


def too_large(filename: str, url: str, limit: int) -> DependencyError:
    return DependencyError(
        f"{filename} is too large",
        why=f"{url} has more than {limit >> 20} MB, and the index does not give its size and hash.",
        hint="ask the operators of the index to publish hashes and sizes, or lock the package from another index.",
    )


def wrong_size(filename: str, url: str, expected: int, found: int) -> DependencyError:
    return SourceError(
        f"the index is wrong about the size of {filename}",
        why=f"{url} should have {expected} bytes and has {found}.",
        hint="tell the operators of the index; `deploy build --no-cache` asks it again.",
    )


def link_gone(name: str, url: str) -> DependencyError:
    return SourceError(
        f"the file of {name} is gone",
        why=f"{url} is no longer served, and the index does not list the file.",
        hint=_LOCK_AGAIN,
    )


def not_served(filename: str, url: str, status: int, *, listed: bool = True) -> DependencyError:
    return SourceError(
        f"{_host(url)} does not serve {filename}",
        why=f"{'The index lists' if listed else 'Pipfile.lock names'} {url}, which answered HTTP {status}.",
        hint="build again later; if that does not help, run `deploy lock`, commit Pipfile.lock, and build again."
        if listed
        else "build again later; if that does not help, name another address in Pipfile, and run `deploy lock`.",
    )


def requirement_missing(wheel: str, requirement: str, *, pinned: str, marker: str, target: str, python: str) -> str:
    """`wheel` is a name and a version; `pinned` is the lock's version of the required package, empty for none."""
    needs = f"{wheel} needs {requirement}"
    if pinned:
        return f"{needs}, and Pipfile.lock pins {pinned}."
    if "python_full_version" in marker or "implementation_version" in marker:
        return (
            f"{needs} on Python {python} ({marker}), and Pipfile.lock lacks it: it was made with another patch level "
            f"of Python. Lock with {python}, or set python_full_version in Pipfile."
        )
    where = f" on {target} ({marker})" if marker else ""
    return f"{needs}{where}, and Pipfile.lock lacks it. Add it to Pipfile and run `deploy lock`."


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0] or url

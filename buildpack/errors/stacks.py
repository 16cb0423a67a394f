"""Errors and warnings of stacks, the bases of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.bounded import series_of
from buildpack.errors import AppError, DependencyError, MachineError, StackError, UsageError, sentence

_SYSTEMS = {"darwin": "macOS", "win32": "Windows", "cygwin": "Cygwin"}


def _image(python: str | None) -> str:
    return f"python:{python}-slim" if python else "python:3.12-slim"


# The host stack


def host_needs_linux(system: str, python: str | None) -> StackError:
    return StackError(
        f"the host stack needs Linux, and this is {_SYSTEMS.get(system, system)}",
        why="It puts this machine's own Python and shared libraries into the image, and images run on Linux.",
        hint=f'take a base image from a registry: `--stack {_image(python)}`, or `stack = "{_image(python)}"` '
        "in deploy.toml.",
    )


def host_is_another_platform(asked: str, here: str, python: str | None) -> StackError:
    return StackError(
        f"the host stack cannot make an image for {asked}: this machine is {here}",
        why="It puts this machine's own Python and shared libraries into the image.",
        hint=f"take a base image from a registry: `--stack {_image(python)} --platform {asked}`.",
    )


def no_host_python(python: str | None, found: Sequence[tuple[str, str]]) -> StackError:
    """`found` are version and path of the interpreters that run here."""
    series = series_of(python) if python else None
    listed = "\n".join(f"  {version:8} {path}" for version, path in found)
    looked = "PATH, pyenv's versions, /usr/local/bin and /usr/bin were searched"
    install = f"install it (`pyenv install {python or '3.12'}`, or your system's package python{series or '3'})"
    return StackError(
        f"there is no Python {series} on this machine for the host stack"
        if series
        else "there is no Python 3.10 or later on this machine for the host stack",
        why=f"{looked}. They have:\n\n{listed}" if found else f"{looked}; none has a Python that runs.",
        hint=f"{install}, or take a base image from a registry: `--stack {_image(python)}`.",
    )


def static_host_python(path: str) -> StackError:
    return StackError(
        f"{path} cannot be a stack: it is linked statically",
        why="A static interpreter cannot load extension modules, which many wheels have.",
        hint="use another interpreter, or a base image from a registry, such as `--stack python:3.12-slim`.",
    )


def host_layer_lost(digest: object) -> MachineError:
    return MachineError(
        f"the host stack's layer {digest} disappeared from the store",
        why="Another program removed it during this build.",
        hint="build again, which makes it again.",
    )


def other_patch_level(asked: str, found: str) -> str:
    return (
        f"the app asks for Python {asked}, the stack has {found}. The same wheels fit both, "
        f"but a lock made on {asked} may lack packages that {found} needs."
    )


def host_python_lacks(path: str, modules: Sequence[str]) -> str:
    return (
        f"{path} was built without the {'module' if len(modules) == 1 else 'modules'} {', '.join(modules)}, "
        "because headers were missing, so the image lacks "
        f"{'it' if len(modules) == 1 else 'them'}, too."
    )


def host_lacks_zones() -> str:
    return (
        "this machine has no time zones in /usr/share/zoneinfo, so the image has none for `zoneinfo`: install tzdata "
        "here, or add the package tzdata to Pipfile."
    )


def host_library_missing(missing: Mapping[str, object]) -> str:
    listed = ", ".join(f"{soname} (for {path})" for soname, path in sorted(missing.items()))
    return f"this machine lacks shared libraries that its own Python needs: {listed}."


# Bases


def invalid_platform(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a platform", hint="write linux/amd64, linux/arm64 or linux/arm/v7.")


def wrong_python(stack: str, asked: str, found: str) -> AppError:
    return AppError(
        f"the app asks for Python {asked}, and the stack {stack} has {found}",
        why="Wheels and byte code are made for one minor version of Python.",
        hint=f"use `--stack {_image(asked)}`, or change the version in Pipfile or .python-version and lock again.",
    )


def unpinned(stack: str, reference: str) -> str:
    digest = reference.rpartition("@")[2]
    return f"the stack {stack} is not pinned: today it is {digest}. `deploy lock` writes the digest to deploy.toml."


def stale_tag(stack: str, hours: int, problem: str) -> str:
    return f"the stack {stack} cannot be looked up now ({problem}), so its image of {hours} hours ago is used."


def no_python_in_base(stack: str) -> StackError:
    return StackError(
        f"the stack {stack} has no Python",
        why="The folders of its PATH, /usr/local/bin and /usr/bin have no python3.",
        hint="a stack needs CPython 3.10 or later: `--stack python:3.12-slim`, or an image of your own made FROM one.",
    )


def unknown_python_in_base(stack: str, executable: str) -> StackError:
    return StackError(
        f"the stack {stack} has a Python that cannot be identified",
        why=f"{executable} does not contain a version of CPython 3.10 or later.",
        hint="a stack needs CPython 3.10 or later: `--stack python:3.12-slim`, or an image of your own made FROM one.",
    )


def app_as_base(stack: str) -> StackError:
    return StackError(
        f"the stack {stack} is an app's image",
        why="`deploy build` made it: the packages in its /opt/venv would stay below this app's, so that the app could "
        "import packages that its Pipfile.lock does not name.",
        hint="build on that image's base: `--stack python:3.12-slim`, or an image of your own made FROM one.",
    )


def no_libc_in_base(stack: str) -> StackError:
    return StackError(
        f"the stack {stack} has no C library that wheels are made for",
        why="The folders of its loader have neither glibc (libc.so.6) nor musl (ld-musl-*.so.1).",
        hint="use a base with glibc or musl, such as `--stack python:3.12-slim`.",
    )


def hostile_base(stack: str, problem: str) -> StackError:
    return StackError(
        f"the stack {stack} cannot be unpacked",
        why=f"{sentence(problem)}.",
        hint="the image is damaged or malicious: use another one.",
    )


def compressed_with_zstd(stack: str) -> StackError:
    return StackError(
        f"the stack {stack} has layers compressed with zstd",
        why="The layers must be read to find the stack's Python and libraries, and deploy does not read zstd.",
        hint="use an image with gzip layers; `skopeo copy --dest-compress-format gzip` makes one.",
    )


# Shared libraries

_PACKAGES = {
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "libgomp.so.1": "libgomp1",
    "libpq.so.5": "libpq5",
    "libmariadb.so.3": "libmariadb3",
    "libmysqlclient.so.21": "libmysqlclient21",
    "libxml2.so.2": "libxml2",
    "libxslt.so.1": "libxslt1.1",
    "libexslt.so.0": "libxslt1.1",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libffi.so.8": "libffi8",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libz.so.1": "zlib1g",
    "libexpat.so.1": "libexpat1",
    "libX11.so.6": "libx11-6",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libodbc.so.2": "unixodbc",
    "libmagic.so.1": "libmagic1",
    "libcairo.so.2": "libcairo2",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libtk8.6.so": "libtk8.6",
    "libtcl8.6.so": "libtcl8.6",
}


def libraries_not_there(
    name: str, version: str, sonames: Sequence[str], stack: str, *, instead: str
) -> DependencyError:
    """`instead` is a package with wheels."""
    packages = sorted({_PACKAGES[soname] for soname in sonames if soname in _PACKAGES})
    ways = [f"lock {instead} instead of {name}, or"] if instead else []
    base = "IMAGE" if stack.startswith(("oci:", "archive:")) else stack
    install = " ".join(packages) or "PACKAGES"
    ways.append(
        "make a base that has the libraries, push it, and name it with `--stack REF`. Its Dockerfile:\n"
        f"  FROM {base}\n"
        f"  RUN apt-get update && apt-get install -y --no-install-recommends {install} && rm -rf /var/lib/apt/lists/*"
    )
    return DependencyError(
        f"{name} {version} does not work on the stack {stack}",
        why=f"It has no wheel and was built here. It needs {', '.join(sonames)}, which the stack lacks.",
        hint=" ".join(ways),
    )


def libraries_missing(wheel: str, sonames: Sequence[str], stack: str) -> str:
    packages = sorted({_PACKAGES[soname] for soname in sonames if soname in _PACKAGES})
    apt = f" Debian has {'it' if len(sonames) == 1 else 'them'} in {', '.join(packages)}." if packages else ""
    way = f"Use a stack that has {'it' if len(sonames) == 1 else 'them'}"
    if stack == "host":
        # Installing it here would not help: the stack takes only libraries that Python itself needs.
        way = f"That stack holds only what its Python needs. {way}"
    return (
        f"{wheel} needs {', '.join(sonames)}, which the stack {stack} lacks: importing it may fail.{apt} "
        f"{way}, or take another wheel."
    )

"""Makes the host stack: this machine's interpreter and the few files of its operating system that it needs.

The store remembers the stack with its witnesses, the files and folders that it came from, by size and time. While they
do not change, finding the stack again takes a few hundred `stat` calls and starts no process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.errors import stacks as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.entry import Entry
from buildpack.oci.image import Layer, Platform, canonical_json
from buildpack.oci.layer import LAYER_FORMAT, write_layer
from buildpack.oci.store import Store
from buildpack.stacks.find_python import (
    HostPython,
    brief_stamp,
    candidate_witnesses,
    choose_host,
    own_executable,
)
from buildpack.stacks.platforms import native_platform
from buildpack.stacks.stack import Facts, Stack, StackPython, StackRequest

if TYPE_CHECKING:
    from buildpack.stacks.host_files import HostFiles
    from buildpack.stacks.stdlib import ByteCode
    from buildpack.system.elf import Elf

HOST_FORMAT = "5"
"""Raise it when the same machine would give other layers; part of the key of remembered stacks."""

_KIND = "host"
_DPKG = Path("/var/lib/dpkg")
_DOCUMENTS = Path("/usr/share/doc")


def resolve_host(
    request: StackRequest,
    *,
    store: Store,
    environ: Mapping[str, str],
    known_layers: Callable[[str], tuple[Layer, ...]] | None,
) -> Stack:
    """Return the stack of this machine; it is gathered again only if a witness changed.

    `known_layers` may return the layers of an identity from an earlier image. Then they are not written, and the store
    does not remember the stack. Raises StackError if this is not Linux, or has no such Python.
    """
    python, here = request.python, native_platform()
    own = own_executable(request.own)
    chosen = choose_host(python, [request.platform], system=request.system, environ=environ, own=own, store=store)
    executable = str(chosen.executable)
    certificates = _certificates()
    parts = [HOST_FORMAT, LAYER_FORMAT, brief_stamp(executable), str(certificates), environ.get("LD_LIBRARY_PATH")]
    key = canonical_json(parts).decode()
    stack = _recall(store, key)
    if stack is None:
        stack = _gather(chosen, here, certificates, store=store, environ=environ, known_layers=known_layers)
        if all(store.has(layer.digest) for layer in stack.layers):
            _remember(store, key, stack, chosen)
    others = (executable, *candidate_witnesses(python, environ=environ, own=own))
    return _for_app(stack, python, witnesses=others)


def recall_executable(stack: Stack, store: Store) -> str | None:
    """Return this machine's interpreter from which the stack was made; None if it is gone."""
    found = store.recall(_KIND + "-python", str(stack.digest))
    return found if isinstance(found, str) and os.path.exists(found) else None


def _certificates() -> Path:
    """Find certifi's file without importing certifi, which takes longer than all other work for a known stack."""
    from importlib.util import find_spec

    spec = find_spec("certifi")
    assert spec is not None, "certifi is one of our dependencies"
    assert spec.origin is not None
    return Path(spec.origin).with_name("cacert.pem")


def _recall(store: Store, key: str) -> Stack | None:
    found = store.recall(_KIND, key)
    if not isinstance(found, dict) or any(brief_stamp(witness[0]) != witness for witness in found["witnesses"]):
        return None
    facts = Facts.parse(found["facts"])
    layers = tuple(
        Layer(digest=Digest.parse(each["digest"]), diff_id=Digest.parse(each["diff_id"]), size=each["size"])
        for each in found["layers"]
    )
    if facts is None or store.missing(layers):
        return None
    return Stack(
        name="host",
        reference="host",
        digest=_digest(layers),
        platform=Platform(**found["platform"]),
        layers=layers,
        config=_config(found["env"]),
        facts=facts,
        warnings=tuple(found["warnings"]),
        witnesses=tuple(path for path, *_ in found["witnesses"]),
        identity=found["identity"],
        packages=found["packages"],
    )


def _remember(store: Store, key: str, stack: Stack, python: HostPython) -> None:
    value = {
        "witnesses": [brief_stamp(path) for path in stack.witnesses],
        "facts": stack.facts.render(),
        "layers": [
            {"digest": str(layer.digest), "diff_id": str(layer.diff_id), "size": layer.size} for layer in stack.layers
        ],
        "platform": {"architecture": stack.platform.architecture, "variant": stack.platform.variant},
        "env": stack.config["Env"],
        "warnings": list(stack.warnings),
        "identity": stack.identity,
        "packages": stack.packages,
    }
    store.remember(_KIND, key, value)
    store.remember(_KIND + "-python", str(stack.digest), str(python.executable))


def _digest(layers: Iterable[Layer]) -> Digest:
    return sha256(canonical_json([str(layer.diff_id) for layer in layers]))


def _config(env: list[str]) -> dict[str, Any]:
    return {"Env": env, "Cmd": ["python3"]}


def _for_app(stack: Stack, python: str | None, *, witnesses: Iterable[str]) -> Stack:
    """Add what depends on the app's version: a warning about another patch level, and `witnesses`."""
    from dataclasses import replace

    warnings = stack.warnings
    if python not in (None, stack.python.series, stack.python.version):
        warnings = (*warnings, errors.other_patch_level(python, stack.python.version))
    return replace(stack, warnings=warnings, witnesses=(*stack.witnesses, *witnesses))


def _gather(
    python: HostPython,
    platform: Platform,
    certificates: Path,
    *,
    store: Store,
    environ: Mapping[str, str],
    known_layers: Callable[[str], tuple[Layer, ...]] | None,
) -> Stack:
    from buildpack.stacks import host_files
    from buildpack.stacks.host_files import HostFiles
    from buildpack.stacks.shared_libraries import find_libraries, read_libraries
    from buildpack.stacks.stdlib import ByteCode, build_folders, gather_python
    from buildpack.system.elf import read_elf

    like = read_elf(python.executable)
    if like is None or not like.interpreter:
        raise errors.static_host_python(str(python.executable))
    folders = build_folders(python)
    upper, lower = HostFiles(prefixes=folders), HostFiles()
    with store.temporary_folder() as scratch, ExitStack() as running:
        sources = gather_python(upper, python, folders)

        def compile_library() -> ByteCode:
            return running.enter_context(closing(ByteCode(python, sources, scratch, environ)))

        # If an earlier image may have the layers, compiling starts only when it turns out that it has not.
        byte_code = compile_library() if known_layers is None else None
        libraries = read_libraries(environ)
        host_files.gather_system(lower, loader=like.interpreter, certificates=certificates, cafile=python.cafile)
        base = find_libraries(lower.programs, host_files.SONAMES, libraries, like=like)
        own = find_libraries(upper.programs, (), libraries, like=like)
        # The folder that the loader searches by default: libc's on this machine.
        folder = host_files.merged(str((base.found.get("libc.so.6") or Path(like.interpreter)).parent))
        host_files.gather_libraries(lower, folder, base.found.items())
        above = [(soname, path) for soname, path in own.found.items() if soname not in base.found]
        host_files.gather_libraries(upper, folder, above)
        packages = _gather_packages(lower, upper)
        entries = (*lower.entries.values(), *upper.entries.values())
        identity = host_files.identify(entries, HOST_FORMAT, LAYER_FORMAT, python.version)
        layers = known_layers(identity) if known_layers is not None else ()
        if not layers:
            byte_code = byte_code or compile_library()
            layers = _write_both(store, list(lower.entries.values()), upper, byte_code)
    return Stack(
        name="host",
        reference="host",
        digest=_digest(layers),
        platform=platform,
        layers=layers,
        config=_config([*host_files.ENVIRONMENT, f"PYTHON_VERSION={python.version}"]),
        facts=_facts(python, like, lower, sonames={*base.found, *own.found}),
        warnings=tuple(_warnings(python, lower, missing={**base.missing, **own.missing})),
        witnesses=tuple(sorted(lower.witnesses | upper.witnesses)),
        identity=identity,
        packages=packages,
    )


def _facts(python: HostPython, like: Elf, lower: HostFiles, *, sonames: set[str]) -> Facts:
    from buildpack.stacks.facts import musl_version

    executable, loader = f"/usr/local/bin/python{python.series}", Path(os.path.realpath(like.interpreter))
    return Facts(
        python=StackPython(version=python.version, executable=executable, cache_tag=python.cache_tag),
        libc=python.glibc or musl_version(loader.read_bytes()) or ("musl", 1, 1),
        machine=like.machine,
        sonames=frozenset({*sonames, Path(like.interpreter).name}),
        passwd=lower.text("etc/passwd"),
        group=lower.text("etc/group"),
    )


def _warnings(python: HostPython, lower: HostFiles, *, missing: Mapping[str, Path]) -> list[str]:
    warnings = []
    if python.lacking:
        warnings.append(errors.host_python_lacks(str(python.executable), python.lacking))
    if "etc/localtime" not in lower.entries:
        warnings.append(errors.host_lacks_zones())
    if missing:
        warnings.append(errors.host_library_missing(missing))
    return warnings


def _gather_packages(lower: HostFiles, upper: HostFiles) -> str:
    """Put dpkg's status and copyright files of the files' packages into the upper layer; return the packages' list."""
    from buildpack.oci.entry import FileSlice, file
    from buildpack.stacks.packages import list_packages, read_packages, render_status

    upper.witnesses.add(str(_DPKG / "status"))
    packages = read_packages(lower.sources() | upper.sources(), database=_DPKG, documents=_DOCUMENTS)
    if not packages:
        return ""
    upper.put([file("var/lib/dpkg/status", render_status(packages))])
    named = {package.fields["Package"]: package.copyright for package in packages if package.copyright}
    upper.put(file(f"{_DOCUMENTS}/{name}/copyright".lstrip("/"), text) for name, text in named.items())
    release = lower.entries.get("usr/lib/os-release")
    content = release.content if release is not None else None
    text = content.path.read_text("utf-8", "replace") if isinstance(content, FileSlice) else ""
    return list_packages(packages, text)


def _write_both(store: Store, lower: list[Entry], upper: HostFiles, byte_code: ByteCode) -> tuple[Layer, ...]:
    """Write the two layers at the same time: compressing releases the interpreter's lock."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=2) as pool:
        below = pool.submit(_write, store, lower)
        above = pool.submit(_write, store, [*upper.entries.values(), *byte_code.entries()])
        return below.result(), above.result()


def _write(store: Store, entries: list[Entry]) -> Layer:
    with store.blob() as blob:
        made = write_layer(entries, blob)
        blob.commit(made.digest)
    return made

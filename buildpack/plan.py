"""Decide everything about an image before anything is built: app and facts in, plan out.

Pure: this module opens no file, socket or process, so a plan can be printed, compared and tested alone.
It decides the layers, their order and keys, and the image's config.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from buildpack.dataclass import dataclass, replace
from buildpack.oci.image import ANNOTATION, Layer, Platform, canonical_json, pack, unpack
from buildpack.python.about import About
from buildpack.python.files import WheelFile
from buildpack.system.compile_process import BYTECODE_FORMAT

APP_ROOT = "app"
RUNTIME_ROOT = "opt/deploy"
VENV_ROOT = "opt/venv"
LAUNCH_FILE = f"{RUNTIME_ROOT}/launch.json"
USER = 1000
"""Both user and group ID of the processes, and the owner of ``/app``."""
LARGE = 1 << 20
"""Bytes. A wheel of this size or larger has its own layer."""
BUCKETS = 8
PURE_BUCKETS = 5
"""The first buckets only have wheels for any platform, so these layers are the same on every platform."""
MAX_DEPENDENCY_LAYERS = 60
"""Classic engines allow 125 layers in an image; each beyond ten takes about 40 ms to load."""

_STATED: Mapping[str, Callable[[Any], Any]] = {
    "name": str,
    "version": str,
    "origin": str,
    "required": str,
    "pkg_resources": bool,
    "shared": bool,
    "libraries": str,
    "roots": lambda roots: tuple(map(str, roots)),
}
"""The facts of a wheel in its layer's annotation if they are not usual, each with the function that reads it."""

Kind = Literal["runtime", "dependencies", "app"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytecode:
    """The version of the interpreter that compiles; without one `python` is empty, and `reason` says why."""

    python: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.python}+{BYTECODE_FORMAT}" if self.python else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFile:
    """One file or link of the app as it enters the image; `content` is a SHA-256 in hexadecimal, or a link's target."""

    path: str
    kind: Literal["file", "symlink"]
    executable: bool
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """A layer that is known by its key only; `members` are its wheels, none for runtime and app."""

    kind: Kind
    slot: str
    key: str
    members: tuple[WheelFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The content of an image: our layers, on top of those of the stack, and the config."""

    layers: tuple[PlannedLayer, ...]
    platform: Platform
    created: str
    config: Mapping[str, Any]
    annotations: Mapping[str, str]


def dependency_layers(
    wheels: Iterable[WheelFile], *, layer_format: str, python: str, bytecode: Bytecode
) -> list[PlannedLayer]:
    """Group wheels into layers: a pure function of their files' names and sizes.

    A large wheel has its own layer. These layers are ordered from large to small by power-of-two size class, then by
    name. Smaller wheels share `BUCKETS` buckets by a hash of their name, so that a new version rewrites one small
    bucket. `PURE_BUCKETS` of them have the wheels for any platform, so that images for several platforms share layers.
    The threshold of large wheels doubles until at most `MAX_DEPENDENCY_LAYERS` remain. Wheels with different files of
    the same path are together in the last layer, where the last name wins, because the order of other layers is
    arbitrary.

    `python` is the major and minor version, which names the folders inside the environment. Keys lack the machine,
    because a wheel's entries follow from the wheel, and byte code is the same on every machine.
    """
    by_name = sorted(wheels, key=lambda wheel: wheel.name)
    ordered = [wheel for wheel in by_name if not wheel.shared]
    together = [wheel for wheel in by_name if wheel.shared]
    threshold = LARGE
    while sum(wheel.size >= threshold for wheel in ordered) > MAX_DEPENDENCY_LAYERS - BUCKETS - bool(together):
        threshold *= 2
    large = [wheel for wheel in ordered if wheel.size >= threshold]
    slots = {wheel.name: [wheel] for wheel in sorted(large, key=lambda wheel: (-wheel.size.bit_length(), wheel.name))}
    buckets: dict[int, list[WheelFile]] = {}
    for wheel in ordered:
        if wheel.size < threshold:
            buckets.setdefault(_bucket(wheel), []).append(wheel)
    slots |= {f"bucket {number}": buckets[number] for number in sorted(buckets)}
    if together:
        slots["shared paths"] = together
    return [
        PlannedLayer(
            kind="dependencies",
            slot=slot,
            key=_key("dependencies", layer_format, python, str(bytecode), [wheel.sha256 for wheel in members]),
            members=tuple(members),
        )
        for slot, members in slots.items()
    ]


def _bucket(wheel: WheelFile) -> int:
    number = hashlib.sha256(wheel.name.encode()).digest()[0]
    return number % PURE_BUCKETS if wheel.pure else PURE_BUCKETS + number % (BUCKETS - PURE_BUCKETS)


def _key(*parts: object) -> str:
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


def runtime_key(*, layer_format: str, files: Mapping[str, str], bytecode: Bytecode) -> str:
    """Return the key of the runtime layer, whose `files` map paths to SHA-256 or link target."""
    return _key("runtime", layer_format, dict(files), str(bytecode))


def app_key(files: Sequence[AppFile], *, layer_format: str, launch: bytes, mtime: int, hooks: str = "") -> str:
    """Return the key of the app's layer; `mtime` is that of its files, in seconds since 1970.

    `hooks` is a hash of the commands that run on these files before they are shipped, and of their inputs.
    """
    listed = [[file.path, file.kind, file.executable, file.content] for file in files]
    return _key("app", layer_format, mtime, hashlib.sha256(launch).hexdigest(), listed, *([hooks] if hooks else []))


def launch_json(
    *, processes: Mapping[str, str], default: str | None, app_object: str | None, formation: Mapping[str, int]
) -> bytes:
    """Render the file that the launcher reads at its start: process types in the Procfile's order."""
    value = {
        "schema": 1,
        "processes": dict(processes),
        "default": default,
        "app_object": app_object,
        "formation": dict(formation),
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def layer_annotations(layer: PlannedLayer) -> dict[str, str]:
    """Return the annotations of one of our layers, from which another machine knows it without building it."""
    made = {ANNOTATION + "key": layer.key, ANNOTATION + "kind": layer.kind, ANNOTATION + "slot": layer.slot}
    if layer.members:
        made[ANNOTATION + "members"] = pack(canonical_json([_row(wheel) for wheel in layer.members]))
    return made


def _row(wheel: WheelFile) -> list[Any]:
    """Return file name, SHA-256 and size, and the facts that are not usual: each push sends this row."""
    usual = _usual(wheel.filename, wheel.sha256, wheel.size)
    special = {name: getattr(wheel, name) for name in _STATED if getattr(wheel, name) != getattr(usual, name)}
    if wheel.about is not None:
        special["about"] = wheel.about.render()
    row = [wheel.filename, wheel.sha256, wheel.size]
    return [*row, special] if special else row


def _usual(filename: str, sha256: str, size: int) -> WheelFile:
    """Return a wheel that has the name and version of its file's name, and a package of its name."""
    from buildpack.python.wheel_choice import parse_wheel_name

    named = parse_wheel_name(filename)
    name, version = (named.name, named.version) if named else ("", "")
    roots = (name.replace("-", "_"),)
    return WheelFile(name=name, version=version, filename=filename, sha256=sha256, size=size, roots=roots)


def members_of(layer: Layer) -> tuple[WheelFile, ...]:
    """Read the wheels of a layer from its annotations; nothing if they are absent or damaged."""
    try:
        rows = unpack(layer.annotations.get(ANNOTATION + "members", "[]"))
        return tuple(_member(*row) for row in rows)
    except (AttributeError, OverflowError, TypeError, ValueError):
        return ()


def _member(filename: Any, sha256: Any, size: Any, special: Any = None) -> WheelFile:
    stated = special or {}
    usual = _usual(str(filename), str(sha256), int(size))
    given = {name: _STATED[name](value) for name, value in stated.items() if name in _STATED}
    wheel = replace(usual, **given, about=About.parse(stated.get("about")))
    if not f"{wheel.name}{wheel.version}{wheel.filename}{wheel.libraries}".isprintable():
        raise ValueError("a terminal would interpret this name")
    return wheel


def image_config(stack_config: Mapping[str, Any], *, stack_python: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the image config's ``config`` object on top of the stack's.

    `stack_python` is the interpreter's absolute path inside the image. Variables, volumes and labels of the stack stay.
    Its command, user, health check and build triggers do not, because ours replace them.
    """
    environment = dict(item.partition("=")[::2] for item in stack_config.get("Env") or ())
    path = environment.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment.update(
        PATH=f"/{VENV_ROOT}/bin:{path}",
        VIRTUAL_ENV=f"/{VENV_ROOT}",
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        LANG="C.UTF-8",
        HOME=f"/{APP_ROOT}",
    )
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": [stack_python, "-I", f"/{RUNTIME_ROOT}"],
        "User": f"{USER}:{USER}",
        "WorkingDir": f"/{APP_ROOT}",
        "StopSignal": "SIGTERM",
        "ExposedPorts": {**(stack_config.get("ExposedPorts") or {}), "8000/tcp": {}},
        "Labels": {**(stack_config.get("Labels") or {}), **labels},
    }
    if stack_config.get("Volumes"):
        config["Volumes"] = stack_config["Volumes"]
    return config

"""Decide everything about an image before anything is built: app and facts in, plan out.

Pure: this module opens no file, socket or process, so a plan can be printed, compared and tested alone.
What it decides is which layers there are, in what order, under which keys, and what the image's config says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from buildpack.dataclass import dataclass
from buildpack.oci.image import ANNOTATION, Layer, Platform, canonical_json, pack, unpack
from buildpack.python.about import About

APP_ROOT = "app"
RUNTIME_ROOT = "opt/deploy"
VENV_ROOT = "opt/venv"
LAUNCH_FILE = f"{RUNTIME_ROOT}/launch.json"
USER = 1000
"""Both user and group ID of the processes, and the owner of ``/app``."""
LARGE = 1 << 20
"""Bytes of a wheel from which on it has a layer of its own."""
BUCKETS = 8
PURE_BUCKETS = 5
"""How many of them hold wheels for any platform, and nothing else: those are the same on every platform."""
MAX_DEPENDENCY_LAYERS = 60
"""Classic engines allow 125 layers in a chain; each beyond ten costs some 40 ms at load."""

Kind = Literal["runtime", "dependencies", "app"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One wheel of a layer: enough to find the file again without asking an index. `size` is in bytes.

    `origin` is what a wheel was built from that no index has: an archive's ``sha256:<hex>``, or ``git:<commit>``.
    `required` names what that build required and hashes the lock's pins of it (`BuildSettings.pinned`).
    `pkg_resources` tells that it imports that module, which setuptools has to bring; `shared` that another wheel has a
    different file of the same path. `libraries` are the shared libraries that were copied into it, each as
    ``SONAME=sha256:<hex>``, with spaces between. `about` is None if nobody read it; an `About` may be empty, too.
    `roots` tell where its files are (`find_roots`).
    """

    name: str
    version: str
    filename: str
    sha256: str
    size: int
    origin: str = ""
    required: str = ""
    pkg_resources: bool = False
    shared: bool = False
    libraries: str = ""
    about: About | None = None
    roots: tuple[str, ...] = ()

    @property
    def pure(self) -> bool:
        """Whether the wheel is one for any platform (binary distribution format, "File name convention")."""
        return self.filename.endswith("-any.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The wheels of one dependency layer; `slot` names the layer across builds (``pandas``, ``bucket 3``)."""

    slot: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytecode:
    """Which interpreter compiles, or, where `python` is empty, that none could."""

    python: str
    format: str

    def __str__(self) -> str:
        return f"{self.python}+{self.format}" if self.python else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFile:
    """One file or link of the app as it enters the image; `content` is a SHA-256 in hexadecimal, or a link's target."""

    path: str
    kind: Literal["file", "symlink", "directory"]
    executable: bool
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """A layer that is known by its key alone; `members` are the wheels in it, empty for runtime and app."""

    kind: Kind
    slot: str
    key: str
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be built: the stack's layers, ours on top of them in order, and the image's config."""

    stack_layers: tuple[Layer, ...]
    layers: tuple[PlannedLayer, ...]
    platform: Platform
    created: str
    config: Mapping[str, Any]
    annotations: Mapping[str, str]


def group_members(members: Iterable[Member]) -> tuple[Group, ...]:
    """Group wheels into layers: a pure function of their files' names and sizes.

    Large wheels stand alone, ordered from large to small by power-of-two size class, then by name; the
    smaller ones share `BUCKETS` buckets by a hash of their name, so that one bump rewrites one small
    bucket, `PURE_BUCKETS` of them those for any platform, so that images for several platforms share layers.
    The threshold doubles until at most `MAX_DEPENDENCY_LAYERS` remain. Wheels with different files of one path are
    together in the last layer, where the last name wins: which layer comes later says nothing of who should.
    """
    by_name = sorted(members, key=lambda member: member.name)
    ordered = [member for member in by_name if not member.shared]
    together = tuple(member for member in by_name if member.shared)
    threshold = LARGE
    while sum(member.size >= threshold for member in ordered) > MAX_DEPENDENCY_LAYERS - BUCKETS - bool(together):
        threshold *= 2
    large = sorted(
        (member for member in ordered if member.size >= threshold),
        key=lambda member: (-member.size.bit_length(), member.name),
    )
    buckets: dict[int, list[Member]] = {}
    for member in ordered:
        if member.size < threshold:
            buckets.setdefault(_bucket(member), []).append(member)
    alone = [Group(slot=member.name, members=(member,)) for member in large]
    shared = [Group(slot=f"bucket {number}", members=tuple(buckets[number])) for number in sorted(buckets)]
    return (*alone, *shared, *([Group(slot="shared paths", members=together)] if together else []))


def _bucket(member: Member) -> int:
    number = hashlib.sha256(member.name.encode()).digest()[0]
    return number % PURE_BUCKETS if member.pure else PURE_BUCKETS + number % (BUCKETS - PURE_BUCKETS)


def _key(*parts: object) -> str:
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


def dependency_key(group: Group, *, layer_format: str, python: str, bytecode: Bytecode) -> str:
    """Return the key of a dependency layer.

    `python` is the major and minor version, which names the folders inside the environment. The machine is no part of
    it: a wheel's entries follow from the wheel, and byte code is the same on every machine.
    """
    wheels = [member.sha256 for member in group.members]
    return _key("dependencies", layer_format, python, str(bytecode), wheels)


def runtime_key(*, layer_format: str, files: Mapping[str, str], bytecode: Bytecode) -> str:
    """Return the key of the runtime layer, whose `files` map paths to SHA-256 or link target."""
    return _key("runtime", layer_format, dict(files), str(bytecode))


def app_key(files: Sequence[AppFile], *, layer_format: str, launch: bytes, mtime: int, hooks: str = "") -> str:
    """Return the key of the app's layer; `mtime` is that of its files, in seconds since 1970.

    `hooks` stands for what runs on these files before they are shipped, and all that it is given; empty for nothing.
    """
    listed = [[file.path, file.kind, file.executable, file.content] for file in files]
    return _key("app", layer_format, mtime, hashlib.sha256(launch).hexdigest(), listed, *([hooks] if hooks else []))


def launch_json(
    *, processes: Mapping[str, str], default: str | None, app_object: str | None, formation: Mapping[str, int]
) -> bytes:
    """Render what the launcher reads at the start: process types in the Procfile's order."""
    value = {
        "schema": 1,
        "processes": dict(processes),
        "default": default,
        "app_object": app_object,
        "formation": dict(formation),
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def layer_annotations(layer: PlannedLayer) -> dict[str, str]:
    """Return what the descriptor of a layer of ours says, so that another machine can know it without building it."""
    made = {ANNOTATION + "key": layer.key, ANNOTATION + "kind": layer.kind, ANNOTATION + "slot": layer.slot}
    if layer.members:
        made[ANNOTATION + "members"] = pack(canonical_json([_row(member) for member in layer.members]))
    return made


def _row(member: Member) -> list[Any]:
    """Return file name, SHA-256 and size, since a push sends these on every change; and what the name does not tell."""
    row: list[Any] = [member.filename, member.sha256, member.size]
    usual = _named(member.filename)
    told = {
        name: value
        for name, value, default in (
            ("name", member.name, usual[0]),
            ("version", member.version, usual[1]),
            ("origin", member.origin, ""),
            ("required", member.required, ""),
            ("pkg_resources", member.pkg_resources, False),
            ("shared", member.shared, False),
            ("libraries", member.libraries, ""),
            ("about", member.about and member.about.render(), None),
            ("roots", list(member.roots), _usual_roots(usual[0])),
        )
        if value != default
    }
    return [*row, told] if told else row


def _named(filename: str) -> tuple[str, str]:
    """Return the name and version that a wheel's file name has."""
    from buildpack.python.wheel_choice import parse_wheel_name

    wheel = parse_wheel_name(filename)
    return (wheel.name, wheel.version) if wheel else ("", "")


def _usual_roots(name: str) -> list[str]:
    """Return the roots of most wheels: a package of the wheel's name."""
    return [name.replace("-", "_")]


def members_of(layer: Layer) -> tuple[Member, ...]:
    """Read the wheels of a layer back from its annotations; nothing where they are absent or damaged."""
    try:
        rows = unpack(layer.annotations.get(ANNOTATION + "members", "[]"))
        return tuple(_member(*row) for row in rows)
    except (AttributeError, OverflowError, TypeError, ValueError):
        return ()


def _member(filename: Any, sha256: Any, size: Any, seldom: Any = None) -> Member:
    told = seldom or {}
    name, version = _named(str(filename))
    roots = told.get("roots", _usual_roots(name))
    name, version = str(told.get("name", name)), str(told.get("version", version))
    if not f"{name}{version}{filename}{told.get('libraries', '')}".isprintable():
        raise ValueError("no wheel is called that, and a terminal would obey it")
    return Member(
        name=name,
        version=version,
        filename=str(filename),
        sha256=str(sha256),
        size=int(size),
        origin=str(told.get("origin", "")),
        required=str(told.get("required", "")),
        pkg_resources=bool(told.get("pkg_resources")),
        shared=bool(told.get("shared")),
        libraries=str(told.get("libraries", "")),
        about=About.parse(told.get("about")),
        roots=tuple(map(str, roots)),
    )


def image_config(stack_config: Mapping[str, Any], *, stack_python: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the image config's ``config`` object on top of the stack's, as DESIGN's contract says.

    `stack_python` is the interpreter's absolute path inside the image. Variables, volumes and labels of the stack are
    kept; its command, user, health check and build triggers are not, because ours replace them.
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

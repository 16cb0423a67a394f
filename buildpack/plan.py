"""Decide everything about an image before anything is built: app and facts in, plan out.

Pure: this module opens no file, socket or process, so a plan can be printed, compared and tested alone.
It decides the layers, their order and keys, and the image's config.
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
"""Bytes. A wheel of this size or larger has its own layer."""
BUCKETS = 8
PURE_BUCKETS = 5
"""The first buckets only have wheels for any platform, so these layers are the same on every platform."""
MAX_DEPENDENCY_LAYERS = 60
"""Classic engines allow 125 layers in an image; each beyond ten takes about 40 ms to load."""

Kind = Literal["runtime", "dependencies", "app"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One wheel of a layer, with enough facts to find its file without an index. `size` is in bytes.

    `origin` is the source of a wheel that was built: an archive's ``sha256:<hex>``, or ``git:<commit>``. `required`
    names the requirements of that build, with a hash of their pins (`BuildSettings.pinned`). `pkg_resources` is true if
    the wheel imports that module of setuptools, and `shared` if another wheel has a different file of the same path.
    `libraries` are the shared libraries that were copied into it: ``SONAME=sha256:<hex>``, separated by spaces. `about`
    is None if nobody read its metadata. `roots` are its top files and folders (`find_roots`).
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
        """True if the wheel is for any platform (binary distribution format, "File name convention")."""
        return self.filename.endswith("-any.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The wheels of one dependency layer; `slot` names the layer across builds (``pandas``, ``bucket 3``)."""

    slot: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytecode:
    """The version of the interpreter that compiles; `python` is empty if none can."""

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
    """A layer that is known by its key only; `members` are its wheels, none for runtime and app."""

    kind: Kind
    slot: str
    key: str
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The content of an image: the stack's layers, our layers on top of them, and the config."""

    stack_layers: tuple[Layer, ...]
    layers: tuple[PlannedLayer, ...]
    platform: Platform
    created: str
    config: Mapping[str, Any]
    annotations: Mapping[str, str]


def group_members(members: Iterable[Member]) -> tuple[Group, ...]:
    """Group wheels into layers: a pure function of their files' names and sizes.

    A large wheel has its own layer. These layers are ordered from large to small by power-of-two size class, then by
    name. Smaller wheels share `BUCKETS` buckets by a hash of their name, so that a new version rewrites one small
    bucket. `PURE_BUCKETS` of them have the wheels for any platform, so that images for several platforms share layers.
    The threshold of large wheels doubles until at most `MAX_DEPENDENCY_LAYERS` remain. Wheels with different files of
    the same path are together in the last layer, where the last name wins, because the order of other layers is
    arbitrary.
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

    `python` is the major and minor version, which names the folders inside the environment. The key lacks the machine,
    because a wheel's entries follow from the wheel, and byte code is the same on every machine.
    """
    wheels = [member.sha256 for member in group.members]
    return _key("dependencies", layer_format, python, str(bytecode), wheels)


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
        made[ANNOTATION + "members"] = pack(canonical_json([_row(member) for member in layer.members]))
    return made


def _row(member: Member) -> list[Any]:
    """Return file name, SHA-256 and size, and the facts that do not follow from the name: each push sends this row."""
    row: list[Any] = [member.filename, member.sha256, member.size]
    usual = _named(member.filename)
    special = {
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
    return [*row, special] if special else row


def _named(filename: str) -> tuple[str, str]:
    """Return the name and version that a wheel's file name has."""
    from buildpack.python.wheel_choice import parse_wheel_name

    wheel = parse_wheel_name(filename)
    return (wheel.name, wheel.version) if wheel else ("", "")


def _usual_roots(name: str) -> list[str]:
    """Return the roots of most wheels: a package of the wheel's name."""
    return [name.replace("-", "_")]


def members_of(layer: Layer) -> tuple[Member, ...]:
    """Read the wheels of a layer from its annotations; nothing if they are absent or damaged."""
    try:
        rows = unpack(layer.annotations.get(ANNOTATION + "members", "[]"))
        return tuple(_member(*row) for row in rows)
    except (AttributeError, OverflowError, TypeError, ValueError):
        return ()


def _member(filename: Any, sha256: Any, size: Any, special: Any = None) -> Member:
    stated = special or {}
    name, version = _named(str(filename))
    roots = stated.get("roots", _usual_roots(name))
    name, version = str(stated.get("name", name)), str(stated.get("version", version))
    if not f"{name}{version}{filename}{stated.get('libraries', '')}".isprintable():
        raise ValueError("a terminal would interpret this name")
    return Member(
        name=name,
        version=version,
        filename=str(filename),
        sha256=str(sha256),
        size=int(size),
        origin=str(stated.get("origin", "")),
        required=str(stated.get("required", "")),
        pkg_resources=bool(stated.get("pkg_resources")),
        shared=bool(stated.get("shared")),
        libraries=str(stated.get("libraries", "")),
        about=About.parse(stated.get("about")),
        roots=tuple(map(str, roots)),
    )


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

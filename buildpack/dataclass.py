"""``dataclasses.dataclass``, quicker to define: for frozen classes with slots that take their fields by keyword.

The standard library writes and compiles six functions for each such class, which takes 0.4 ms. A build of one changed
line defines a hundred classes and takes 0.15 s. So this decorator compiles one function, and shares the others
(docs/decisions/0023). `fields`, `replace` and `asdict` of the standard library accept these classes. Type checkers see
the standard library's decorator.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from dataclasses import asdict, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["asdict", "dataclass", "field", "replace"]

_USUAL = {"frozen": True, "slots": True, "kw_only": True}
_REQUIRED = dataclasses.MISSING
_FIELD = dataclasses._FIELD  # type: ignore[attr-defined]
_MADE_AGAIN = frozenset({"__dict__", "__weakref__"})

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, **options):
        """Do the same as the standard library's decorator, and call it for all but the usual options."""
        return _freeze if cls is None and options == _USUAL else dataclasses.dataclass(cls, **options)


def _freeze(cls: type) -> type:
    """Make the class again, because slots cannot be added later. ClassVar and InitVar are not supported."""
    own = {name: _field_of(cls, name, kind) for name, kind in inspect.get_annotations(cls).items()}
    fields: dict[str, dataclasses.Field[Any]] = {}
    taken: set[str] = set()
    for base in reversed(cls.__mro__[1:]):
        fields |= base.__dict__.get("__dataclass_fields__", {})
        taken.update(base.__dict__.get("__slots__", ()))
    fields |= own
    compared = [name for name, each in fields.items() if each.compare]
    body = {name: value for name, value in cls.__dict__.items() if name not in own and name not in _MADE_AGAIN}
    if body.get("__hash__", _REQUIRED) is None:
        del body["__hash__"]  # Python's, for a class with an __eq__ of its own
    body = {
        **_SHARED,
        **body,
        "__qualname__": cls.__qualname__,
        "__slots__": tuple(name for name in own if name not in taken),
        "__dataclass_fields__": fields,
        "__dataclass_key__": attrgetter(*compared) if compared else staticmethod(_nothing),
        "__match_args__": (),
    }
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__init__ = _write_init(made, fields)  # type: ignore[misc]
    return made


def _field_of(cls: type, name: str, kind: Any) -> dataclasses.Field[Any]:
    default = cls.__dict__.get(name, _REQUIRED)
    made: Any = default if isinstance(default, dataclasses.Field) else field(default=default)
    made.name, made.type, made.kw_only, made._field_type = name, kind, True, _FIELD
    return made  # type: ignore[no-any-return]


def _write_init(cls: Any, fields: dict[str, dataclasses.Field[Any]]) -> Any:
    """Compile `__init__`. It sets the slots directly, because the class's own `__setattr__` refuses."""
    given: dict[str, Any] = {"_required": _REQUIRED}
    parameters, lines = [], []
    for name, each in fields.items():
        given[f"_set_{name}"] = getattr(cls, name).__set__
        value = name
        if each.default_factory is not _REQUIRED:
            given[f"_make_{name}"] = each.default_factory
            value = f"_make_{name}() if {name} is _required else {name}"
            parameters.append(f"{name}=_required")
        elif each.default is not _REQUIRED:
            given[f"_default_{name}"] = each.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(f"  _set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("  self.__post_init__()")
    star = ", *, " if parameters else ""
    text = (
        f"def create({', '.join(given)}):\n"
        f" def __init__(self{star}{', '.join(parameters)}):\n" + "\n".join(lines or ["  pass"]) + "\n"
        " return __init__"
    )
    space: dict[str, Any] = {}
    exec(text, vars(sys.modules[cls.__module__]), space)  # noqa: S102  it has the names of our own fields only
    made = space["create"](**given)
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {name: each.type for name, each in fields.items()} | {"return": None}
    return made


def _nothing(_value: object) -> tuple[()]:
    return ()


def _repr(self: Any) -> str:
    shown = (each.name for each in self.__dataclass_fields__.values() if each.repr)
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return self.__dataclass_key__(self) == other.__dataclass_key__(other)


def _hash(self: Any) -> int:
    return hash(self.__dataclass_key__(self))


def _set(_self: object, name: str, _value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(_self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)


_SHARED = {
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}

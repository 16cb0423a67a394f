"""Our dataclasses are the standard library's in all that anybody sees."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
import typing
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import pytest

from buildpack.dataclass import asdict, dataclass, field, replace

T = TypeVar("T")
Decorator = Callable[..., Callable[[type], Any]]
USUAL = {"frozen": True, "slots": True, "kw_only": True}


def define(decorator: Decorator, options: dict[str, bool]) -> dict[str, Any]:
    """Define the same classes with one decorator or the other."""

    class Named(Protocol):
        name: str

    @decorator(**options)
    class Point:
        """Where."""

        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)
        note: str = field(default="", compare=False, repr=False)

        @property
        def sum(self) -> int:
            return self.x + self.y

        @classmethod
        def parse(cls, text: str) -> Any:
            return cls(x=int(text))

    @decorator(**options)
    class Solid(Point):  # type: ignore[misc,valid-type]
        z: int
        y: int = 3

    @decorator(**options)
    class Empty:
        pass

    @decorator(**options)
    class Checked(Generic[T]):
        value: T

        def __post_init__(self) -> None:
            if self.value is None:
                raise ValueError("none")

    @decorator(**options)
    class Own:  # noqa: PLW1641  it shall have a dataclass's
        value: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and other.value % 10 == self.value % 10

        def __repr__(self) -> str:
            return "own"

    @decorator(**options)
    class Hashed:
        value: int

        def __hash__(self) -> int:
            return 7

    return {each.__name__: each for each in (Point, Solid, Empty, Checked, Own, Hashed)}


OURS, THEIRS = define(dataclass, USUAL), define(dataclasses.dataclass, USUAL)


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """Return the result of a call, or its error."""
    try:
        return "returns", repr(call())
    except Exception as error:  # noqa: BLE001  compared as it is
        return type(error).__name__, str(error)


CALLS: list[Callable[[Any], object]] = [
    lambda has: has.Point(x=1),
    lambda has: has.Point(x=1, tags=["a"], note="b"),
    lambda has: has.Point(1),
    lambda has: has.Point(),
    lambda has: has.Point(x=1, q=2),
    lambda has: has.Point(x=1) == has.Point(x=1, note="other"),
    lambda has: has.Point(x=1) == has.Point(x=2),
    lambda has: has.Point(x=1) == has.Solid(x=1, z=3),
    lambda has: has.Point(x=1) != 1,
    lambda has: hash(has.Point(x=1)),
    lambda has: len({has.Point(x=1, tags=()), has.Point(x=1, tags=(), note="c"), has.Point(x=2, tags=())}),
    lambda has: has.Point(x=1).tags is has.Point(x=1).tags,
    lambda has: has.Point(x=1).sum,
    lambda has: has.Point.parse("5"),
    lambda has: has.Solid(x=1, z=3),
    lambda has: has.Solid(x=1),
    lambda has: has.Solid(x=1, z=3).sum,
    lambda has: has.Empty(),
    lambda has: (has.Empty() == has.Empty(), len({has.Empty(), has.Empty()})),
    lambda has: has.Checked(value=1),
    lambda has: has.Checked(value=None),
    lambda has: (has.Own(value=1), has.Own(value=1) == has.Own(value=11), has.Own(value=1) == has.Own(value=2)),
    lambda has: len({has.Own(value=1), has.Own(value=1)}),
    lambda has: (hash(has.Hashed(value=1)), has.Hashed(value=1) == has.Hashed(value=1)),
    lambda has: setattr(has.Point(x=1), "x", 2),
    lambda has: delattr(has.Point(x=1), "x"),
    lambda has: vars(has.Point(x=1)),
    lambda has: replace(has.Solid(x=1, z=3), x=9),
    lambda has: replace(has.Point(x=1), q=9),
    lambda has: asdict(has.Solid(x=1, z=3)),
    lambda has: [(each.name, each.type, each.default, each.kw_only) for each in dataclasses.fields(has.Solid)],
    lambda has: dataclasses.is_dataclass(has.Empty),
    lambda has: copy.copy(has.Solid(x=1, z=3)),
    lambda has: copy.deepcopy(has.Point(x=1, tags=["a"])),
    lambda has: [str(each) for each in inspect.signature(has.Solid).parameters],
    lambda has: (has.Point.__match_args__, has.Solid.__slots__, has.Point.__slots__),
    lambda has: (has.Point.__doc__, has.Point.__name__, has.Point.__qualname__, has.Point.__module__),
    lambda has: typing.get_type_hints(has.Point.__init__),
]


@pytest.mark.parametrize("call", CALLS)
def test_classes_do_the_same_as_the_standard_library_s(call: Callable[[Any], object]) -> None:
    ours, theirs = type("Ours", (), OURS), type("Theirs", (), THEIRS)
    assert outcome(lambda: call(ours)) == outcome(lambda: call(theirs))


def test_other_options_give_the_standard_library_s_decorator() -> None:
    @dataclass
    class Bare:
        x: int

    @dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        x: int

    assert Bare(1) == Bare(1)
    assert Ordered(1) < Ordered(2)
    for each in (Bare, Ordered):
        assert each.__init__.__code__.co_filename == "<string>"
        assert hasattr(each, "__dataclass_params__")


def test_cases_in_which_the_standard_library_s_fail() -> None:
    """With slots it makes each class again, and methods of the first class look for that one (cpython#105936)."""
    assert repr(OURS["Checked"][int](value=1)) == repr(OURS["Checked"](value=1))
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'other'"):
        OURS["Point"](x=1).other = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    x: int
    y: tuple[str, ...] = ()


def test_values_can_be_pickled() -> None:
    sent = Sent(x=1, y=("a",))
    assert pickle.loads(pickle.dumps(sent)) == sent


def test_the_module_s_names_are_those_of_its_functions() -> None:
    assert OURS["Point"].__init__.__globals__ is vars(sys.modules[__name__])

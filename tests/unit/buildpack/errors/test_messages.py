"""The whole text of each error and warning.

The files in `messages` have a call on each line that begins with ``>>>``, and below it the message, after the exit code
of an error.
"""

from __future__ import annotations

from importlib import import_module
from inspect import getmembers, isfunction
from pathlib import Path

import pytest

from buildpack.errors import BuildpackError

FILES = sorted(Path(__file__).with_name("messages").glob("*.txt"))


def read(file: Path) -> list[tuple[str, str]]:
    calls = file.read_text().removeprefix(">>> ").split("\n>>> ")
    return [(call, text.strip()) for call, _, text in (each.partition("\n") for each in calls)]


CASES = [
    pytest.param(file.stem, call, text, id=f"{file.stem}-{call[:40]}") for file in FILES for call, text in read(file)
]


@pytest.mark.parametrize(("module", "call", "text"), CASES)
def test_the_message_of_a_call(module: str, call: str, text: str) -> None:
    made = eval(call, {**vars(import_module(f"buildpack.errors.{module}")), "Path": Path})
    assert (f"exit code {made.exit_code}\n{made}" if isinstance(made, BuildpackError) else str(made).strip()) == text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_function_has_a_message(file: Path) -> None:
    module = import_module(f"buildpack.errors.{file.stem}")
    functions = {name for name, made in getmembers(module, isfunction) if made.__module__ == module.__name__}
    assert {name for name in functions if not name.startswith("_")} == {
        call.partition("(")[0] for call, _ in read(file)
    }

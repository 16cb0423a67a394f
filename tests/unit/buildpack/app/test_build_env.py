"""Variables of an app's build: where they stand, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.app.build_env import read_build_env
from buildpack.app.jsonfile import read_app_json
from buildpack.errors import AppError

SETTINGS = 'name = "env"\nstack = "host"\n'


def failure(folder: Path, name: str, text: str) -> AppError:
    (folder / name).write_text(text)
    with pytest.raises(AppError) as caught:
        read_build_env(folder, read_app_json(folder))
    return caught.value


def test_a_table_that_is_none(tmp_path: Path) -> None:
    error = failure(tmp_path, "deploy.toml", f'{SETTINGS}[build]\nenvi = {{A = "1"}}\n')
    assert str(error) == (
        "deploy.toml has an unknown key `build.envi`\n\ndeploy.toml:4: the keys are `[build.env]`.\n\n"
        "hint: did you mean `[build.env]`?"
    )
    assert error.place == "deploy.toml:4"


@pytest.mark.parametrize("text", ["build = 1\n", "[build]\nenv = 1\n"])
def test_variables_that_are_no_table(tmp_path: Path, text: str) -> None:
    assert str(failure(tmp_path, "deploy.toml", f"{SETTINGS}{text}")) == (
        "`build` cannot be a variable\n\ndeploy.toml:3: it holds the table `[build.env]` alone.\n\n"
        'hint: it looks like `NAME = "value"`, below `[build.env]`.'
    )


def test_the_line_is_the_variable_s_whatever_else_has_its_name(tmp_path: Path) -> None:
    assert failure(tmp_path, "deploy.toml", f"{SETTINGS}[build.env]\nhost = 1\n").place == "deploy.toml:4"
    (tmp_path / "deploy.toml").unlink()
    text = '{"name": "DEBUG",\n "env": {\n  "DEBUG": 1\n }\n}\n'
    assert failure(tmp_path, "app.json", text).place == "app.json:3"

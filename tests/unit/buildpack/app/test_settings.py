"""Settings: who is asked first, and what a value can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.app.app_json import read_app_json
from buildpack.app.settings import Setting, Settings, name_of_folder, read_build_env, read_settings
from buildpack.errors import AppError, BuildpackError, UsageError

HEAD = 'name = "env"\nstack = "host"\n'


def read(folder: Path, toml: str = "", flags: dict[str, str | None] | None = None, **environ: str) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "deploy.toml").write_text(toml)
    return read_settings(folder, environ=environ, flags=flags or {})


def failure(folder: Path, toml: str = "", **environ: str) -> str:
    with pytest.raises(BuildpackError) as caught:
        read(folder, toml, **environ)
    return str(caught.value)


def test_flag_then_environment_then_file_then_default(tmp_path: Path) -> None:
    toml = '# settings\nname = "from-file"\n\nstack = "host"\nplatform = "linux/arm64"\n'
    found = read(tmp_path / "blasto", toml, {"stack": "python:3.12", "name": None}, DEPLOY_PLATFORM="linux/amd64")
    assert found == Settings(
        name=Setting(value="from-file", origin="deploy.toml:2"),
        stack=Setting(value="python:3.12", origin="--stack"),
        platform=Setting(value="linux/amd64", origin="DEPLOY_PLATFORM"),
        title="from-file",
    )
    assert str(found.name) == "from-file"
    assert read(tmp_path / "blasto", DEPLOY_STACK="") == Settings(
        name=Setting(value="blasto", origin="the folder's name")
    )


def test_the_title_is_the_name_in_the_file(tmp_path: Path) -> None:
    found = read(tmp_path / "blasto", 'name = "shop"\n', {"name": "flag"}, DEPLOY_NAME="variable")
    assert (str(found.name), found.title) == ("flag", "shop")
    assert read(tmp_path / "blasto", DEPLOY_NAME="variable").title == ""


@pytest.mark.parametrize(
    "toml", ['platform = ["linux/amd64", "linux/arm64"]\n', 'platform = "linux/amd64,linux/arm64"\n']
)
def test_several_platforms_are_a_list_or_separated_by_commas(tmp_path: Path, toml: str) -> None:
    found = read(tmp_path / "blasto", toml)
    assert found.platform == Setting(value="linux/amd64,linux/arm64", origin="deploy.toml:1")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("blasto", "blasto"),
        ("My App", "my-app"),
        ("a__b--c.d_e", "a__b--c.d_e"),
        ("..x__", "x"),
        ("a._b", "a-b"),
        ("a___b", "a-b"),
        ("a-_b", "a-b"),
        ("Café", "caf"),
        ("日本", None),
        ("x" * 300, "x" * 128),
    ],
)
def test_a_folder_gives_a_name(folder: str, name: str | None) -> None:
    assert name_of_folder(folder) == name


def test_the_current_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Blasto").mkdir()
    monkeypatch.chdir(tmp_path / "Blasto")
    assert read_settings(Path(), environ={}, flags={}).name.value == "blasto"


def test_a_folder_without_any_letter(tmp_path: Path) -> None:
    assert failure(tmp_path / "日本") == (
        "the folder's name '日本' gives no name for the image\n\n"
        "An image's name holds lower-case letters, digits, `.`, `_` and `-`, and the folder's has none of them.\n\n"
        'hint: write `name = "..."` into deploy.toml, or rename the folder.'
    )
    assert read(tmp_path / "日本", 'name = "team/nihon"').name.value == "team/nihon"


@pytest.mark.parametrize(
    ("toml", "wanted_message"),
    [
        (
            '\nstak = "host"\n',
            (
                "deploy.toml has an unknown key `stak`\n\n"
                "deploy.toml:2: the keys are `name`, `platform`, `stack`, `[build.env]`.\n\nhint: did you mean `stack`?"
            ),
        ),
        (
            "[processes]\nweb = 1\n",
            (
                "deploy.toml has an unknown key `processes`\n\n"
                "deploy.toml:1: the keys are `name`, `platform`, `stack`, `[build.env]`.\n\nhint: remove the line."
            ),
        ),
        (
            "stack = 'host'\n[bild.env]\n",
            (
                "deploy.toml has an unknown key `bild`\n\n"
                "deploy.toml:2: the keys are `name`, `platform`, `stack`, `[build.env]`.\n\n"
                "hint: did you mean `[build.env]`?"
            ),
        ),
        (
            "stack = 3.12\n",
            (
                "`stack` cannot be 3.12\n\ndeploy.toml:1 says so. It must be a string. "
                "A stack is `host`, an image such as "
                "`python:3.13-slim`, `oci:FOLDER` or `archive:FILE`.\n\nhint: fix `stack` there."
            ),
        ),
        (
            "name = true\n",
            (
                "`name` cannot be true\n\ndeploy.toml:1 says so. It must be a string. An image's name holds lower-case "
                "letters, digits, and single `.`, `_`, `-` or `/` between them.\n\nhint: fix `name` there."
            ),
        ),
        (
            'name = "My App"\n',
            (
                "`name` cannot be 'My App'\n\ndeploy.toml:1 says so. An image's name holds lower-case "
                'letters, digits, and single `.`, `_`, `-` or `/` between them.\n\nhint: write `name = "my-app"`.'
            ),
        ),
        (
            'platform = "windows/amd64"\n',
            (
                "`platform` cannot be 'windows/amd64'\n\ndeploy.toml:1 says so. "
                "A platform is `linux/amd64`, `linux/arm64` or the like; commas separate several.\n\n"
                "hint: fix `platform` there."
            ),
        ),
        (
            'platform = ["linux/amd64", 64]\n',
            (
                "`platform` cannot be a list\n\ndeploy.toml:1 says so. It must be a string or a list of strings. "
                "A platform is `linux/amd64`, `linux/arm64` or the like; commas separate several.\n\n"
                "hint: fix `platform` there."
            ),
        ),
        (
            'stack = ["host"]\n',
            (
                "`stack` cannot be a list\n\ndeploy.toml:1 says so. It must be a string. A stack is `host`, an image "
                "such as `python:3.13-slim`, `oci:FOLDER` or `archive:FILE`.\n\nhint: fix `stack` there."
            ),
        ),
        (
            "name = blasto\n",
            (
                "deploy.toml is not valid TOML\n\ndeploy.toml:1:8: invalid value\n    name = blasto\n           ^\n\n"
                "hint: fix deploy.toml; the format is described at https://toml.io."
            ),
        ),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, toml: str, wanted_message: str) -> None:
    assert failure(tmp_path / "blasto", toml) == wanted_message


def test_a_variable_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "blasto").mkdir()
    for variable, value, hint in (("STACK", "oci:", ""), ("NAME", "My App", ", such as `my-app`")):
        name = f"DEPLOY_{variable}"
        with pytest.raises(UsageError) as caught:
            read(tmp_path / "blasto", **{name: value})
        assert str(caught.value).startswith(f"{name} cannot be {value!r}\n\nA")
        assert str(caught.value).endswith(f"\n\nhint: give {name} another value{hint}.")


def test_an_option_that_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "blasto").mkdir()
    with pytest.raises(UsageError) as caught:
        read_settings(tmp_path / "blasto", environ={}, flags={"platform": "amd64"})
    assert str(caught.value) == (
        "--platform cannot be 'amd64'\n\nA platform is `linux/amd64`, `linux/arm64` or the like; commas separate "
        "several.\n\nhint: give --platform another value."
    )


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    said = failure(tmp_path / "blasto", 'naem = 1\nstack = ""\n', DEPLOY_PLATFORM="amd64")
    assert [line for line in said.splitlines() if "unknown" in line or "cannot be" in line] == [
        "deploy.toml has an unknown key `naem`",
        "`stack` cannot be ''",
        "DEPLOY_PLATFORM cannot be 'amd64'",
    ]


def test_settings_nested_beyond_reason_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        read(tmp_path / "blasto", "name = " + "[" * 100_000)
    assert str(caught.value).startswith("deploy.toml is not valid TOML\n\ndeploy.toml: it nests too deep\n")


@pytest.mark.parametrize("stack", ["hosst", "hots", "Host", "hos", "ghost"])
def test_host_misspelt(tmp_path: Path, stack: str) -> None:
    image = stack.lower()
    message = (
        f"there is no stack `{stack}`\n\n{{}} says so. As an image's name it would mean "
        f"docker.io/library/{image}:latest.\n\n"
        f"hint: did you mean `host`? If the image is meant, write `{image}:latest`."
    )
    assert failure(tmp_path / "blasto", DEPLOY_STACK=stack) == message.format("DEPLOY_STACK")
    assert failure(tmp_path / "blasto", f"name = 'x'\nstack = '{stack}'\n") == message.format("deploy.toml:2")


@pytest.mark.parametrize("stack", ["host", "ghost:latest", "python", "debian", "hoststack", "most/host"])
def test_images_that_are_not_host_misspelt(tmp_path: Path, stack: str) -> None:
    assert read(tmp_path / "blasto", DEPLOY_STACK=stack).stack == Setting(value=stack, origin="DEPLOY_STACK")


def refused(folder: Path, text: str) -> AppError:
    (folder / "deploy.toml").write_text(text)
    with pytest.raises(AppError) as caught:
        read_build_env(folder, read_app_json(folder))
    return caught.value


def test_an_unknown_key_of_the_build_table(tmp_path: Path) -> None:
    error = refused(tmp_path, f'{HEAD}[build]\nenvi = {{A = "1"}}\n')
    assert str(error) == (
        "deploy.toml has an unknown key `build.envi`\n\ndeploy.toml:4: the keys are `[build.env]`.\n\n"
        "hint: did you mean `[build.env]`?"
    )
    assert error.place == "deploy.toml:4"


@pytest.mark.parametrize("text", ["build = 1\n", "[build]\nenv = 1\n"])
def test_build_variables_that_are_not_a_table(tmp_path: Path, text: str) -> None:
    assert str(refused(tmp_path, f"{HEAD}{text}")) == (
        "`build` cannot be a variable\n\ndeploy.toml:3: it holds the table `[build.env]` alone.\n\n"
        'hint: it looks like `NAME = "value"`, below `[build.env]`.'
    )


def test_the_line_is_that_of_the_variable_and_not_of_a_namesake(tmp_path: Path) -> None:
    assert refused(tmp_path, f"{HEAD}[build.env]\nhost = 1\n").place == "deploy.toml:4"
    assert refused(tmp_path, f'{HEAD}[build]\nenv = {{ OTHER = "1", name = 1 }}\n').place == "deploy.toml:4"

"""Whatever a Procfile's command or a variable holds, the programs read back what was meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.export.compose import render_compose
from deployer.export.files import write_files
from deployer.export.systemd import render_systemd, render_variables
from deployer.formation import Formation
from tests.support.exports import parse_services, read_compose, sourced, verify_units

SPECIAL = "$%\\\"'`;#{}()[]*?~!&|<>=@:+- \t\n\x01\x1b\x7f\x85\u2028\ufeffüx0n"
LETTERS = st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TEXTS = st.text(LETTERS, max_size=30)


def formation(commands: dict[str, str], variables: dict[str, str], folder: str) -> Formation:
    return Formation(
        name="nasty",
        folder=Path("/tmp") / folder,
        processes=commands,
        counts=dict.fromkeys(commands, 1),
        port=8000,
        variables=variables,
    )


def is_line(command: str) -> bool:
    """A Procfile's command is one line, without space around it."""
    return bool(command) and command == command.strip() and not set(command) & set("\n\r")


@given(commands=st.lists(TEXTS.filter(is_line), min_size=1, max_size=20), folder=st.text("ab %$'\"[*?\\é", max_size=8))
def test_systemd_runs_the_command_that_was_meant(commands, folder):
    named = {f"p{number}": command for number, command in enumerate(commands)}
    app = formation(named, {}, folder + "x")
    with tempfile.TemporaryDirectory() as scratch:
        write_files(render_systemd(app, venv=app.folder / "venv", user=None, variables_file=None), Path(scratch))
        units = verify_units(Path(scratch))
    assert len(units) == len(commands)
    for name, command in named.items():
        unit = units[f"nasty-{name}-1.service"]
        assert list(unit.argv) in (["/usr/bin/env", "bash", "-c", command], ["/usr/bin/env", *command.split()])
        assert unit.env["PYTHONPATH"] == unit.settings["WorkingDirectory"] == str(app.folder)


@given(values=st.lists(TEXTS, min_size=1, max_size=30))
def test_systemd_s_file_of_variables_holds_what_was_meant(values):
    taken = [value for value in values if not any(ord(letter) < 32 and letter not in "\t\n" for letter in value)]
    named = {f"V{number}": value for number, value in enumerate(taken) if "\x7f" not in value}
    file = render_variables(formation({"web": "x"}, named, "x"), Path("/venv"))
    with tempfile.TemporaryDirectory() as scratch:
        (path,) = write_files([file], Path(scratch))
        read = sourced(path)
    assert {name: value for name, value in read.items() if name.startswith("V")} == named


@settings(max_examples=max(5, settings().max_examples // 5))  # compose takes half a second to read thirty values
@given(values=st.lists(TEXTS, min_size=1, max_size=30))
def test_compose_sets_the_values_that_were_meant(values):
    named = {f"V{number}": value for number, value in enumerate(values)}
    files = render_compose(formation({"worker": "x"}, named, "x"), image="nasty:1", env_files=[])
    with tempfile.TemporaryDirectory() as scratch:
        (path,) = write_files(files, Path(scratch))
        written = parse_services(path.read_bytes())["worker"]["environment"]
        understood = read_compose(path)["worker"]["environment"]
    assert {name: value.replace("$$", "$") for name, value in written.items()} == named
    # compose reads U+0085 well and prints it badly: its YAML writer does not quote it.
    lost = {name for name, value in named.items() if "\x85" in value}
    assert {name: understood[name] for name in named if name not in lost} == {
        name: value for name, value in written.items() if name not in lost
    }

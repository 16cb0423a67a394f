from __future__ import annotations

from pathlib import Path

import click
import pytest

from buildpack.errors import UsageError
from deployer.cli.command import run
from deployer.cli.operands import METAVAR, Operands, OperandsCommand, command_of, split_operands
from deployer.formation import choose_formation

FOLDERS = {"blasto", "examples/blasto", "worker"}


def split(*arguments: str, command: tuple[str, ...] | None = None) -> Operands:
    return split_operands(arguments, command=command, folder_exists=FOLDERS.__contains__)


def refusal(*arguments: str, command: tuple[str, ...] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        split(*arguments, command=command)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "app", "reference", "formation"),
    [
        ([], None, None, {}),
        (["blasto"], Path("blasto"), None, {}),
        (["blasto", "web=2", "worker"], Path("blasto"), None, {"web": 2, "worker": 1}),
        (["."], Path(), None, {}),
        (["./nowhere", "web"], Path("nowhere"), None, {"web": 1}),
        (["../x"], Path("../x"), None, {}),
        (["/nowhere"], Path("/nowhere"), None, {}),
        (["web"], None, None, {"web": 1}),
        (["web=0", "worker=3"], None, None, {"web": 0, "worker": 3}),
        # A folder wins over a process type of that name.
        (["worker"], Path("worker"), None, {}),
        (["web", "worker"], None, None, {"web": 1, "worker": 1}),
        (["blasto:1.0"], None, "blasto:1.0", {}),
        (["localhost:5000/team/blasto:1.0", "web"], None, "localhost:5000/team/blasto:1.0", {"web": 1}),
        (["blasto@sha256:" + "0" * 64], None, "blasto@sha256:" + "0" * 64, {}),
    ],
)
def test_the_first_operand_is_an_app_an_image_or_a_process_type(arguments, app, reference, formation):
    assert split(*arguments) == Operands(app=app, reference=reference, formation=formation)


def test_the_order_of_process_types_is_kept():
    assert list(split("b=1", "a=2", "c").formation) == ["b", "a", "c"]


def test_without_an_app_the_folder_is_the_current_one():
    assert split("web").folder == Path()
    assert split("blasto").folder == Path("blasto")


@pytest.mark.parametrize("count", ["", "x", "-1", "1.5", "101", "²", "99999999999999999999"])
def test_a_wrong_number_of_processes_is_refused(count):
    assert refusal("blasto", f"web={count}") == (
        f"web={count}: {count!r} is not a number of processes\n\n"
        "It is a whole number from 0 to 100.\n\n"
        "hint: for example web=2."
    )


@pytest.mark.parametrize("text", ["localhost:5000/blasto", "a/b", "=2", "é", "web 2"])
def test_an_operand_without_a_meaning_is_refused(text):
    assert refusal("blasto", text) == (
        f"{text!r} is not a process type\n\n"
        "After the app or the image come process types, as TYPE or TYPE=N.\n\n"
        "hint: for example `web=2 worker`; a command of its own comes after `--`."
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("examples/blato", "check the path; the image would be examples/blato:latest."),
        ("examples/blasto=2", "check the path."),
    ],
)
def test_a_path_that_leads_nowhere(text, hint):
    assert refusal(text) == (
        f"there is no folder {text}\n\n"
        "The name of an image needs a tag or digest here, and process types have no slash.\n\n"
        f"hint: {hint}"
    )


@pytest.mark.parametrize("command", ["local", "run", "ci"])
@pytest.mark.parametrize(
    ("seconds", "why"),
    [("inf", "inf is not in the range 0<=x<=86400"), ("nan", "nan is not a number")],
)
def test_seconds_that_no_clock_takes(command, seconds, why, capsys):
    assert run([command, "--boot-timeout", seconds]) == 2
    assert capsys.readouterr().err == (
        f"error: invalid value for '--boot-timeout': {why}\n\nhint: `deploy {command} --help` shows the usage.\n"
    )


@pytest.mark.parametrize("command", ["inspect", "push", "verify"])
def test_a_path_without_a_folder_is_refused(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    (tmp_path / "file").touch()
    assert run([command, f"{tmp_path}/file"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/file is not a folder\n\n")
    assert run([command, f"{tmp_path}/none"]) == 2
    assert capsys.readouterr().err.startswith(f"error: there is no folder {tmp_path}/none\n\n")


EMPTY = (
    "an operand is empty\n\n"
    "A shell passes an empty operand for a variable that is not set.\n\n"
    "hint: name the app's folder, or `.` for this one."
)


@pytest.mark.parametrize("arguments", [("",), ("blasto", ""), ("blasto", "web", "")])
def test_an_empty_operand(arguments):
    assert refusal(*arguments) == EMPTY


COMMANDS = "build check ci init inspect local lock push run verify verify+blasto export+compose export+systemd"


@pytest.mark.parametrize("command", COMMANDS.split())
def test_an_empty_operand_is_never_the_current_folder(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    assert run([*command.split("+"), ""]) == 2
    assert capsys.readouterr() == ("", f"error: {EMPTY}\n")
    assert not list(tmp_path.iterdir())


def test_a_process_type_named_twice():
    assert refusal("web", "web=2") == "'web' is named twice\n\nhint: write web=2 to start two of them."


def test_a_command_without_words():
    assert refusal("blasto", command=()) == (
        "no command follows `--`\n\nhint: for example `deploy run -- flask shell`."
    )


def test_a_command_beside_process_types():
    assert refusal("blasto", "web", command=("ls",)) == (
        "both a process type (web) and a command are given\n\n"
        "The command after `--` runs instead of the app's processes.\n\n"
        "hint: leave one of them out."
    )


def parsed(*arguments: str) -> dict[str, object]:
    found: dict[str, object] = {}

    @click.command("run", cls=OperandsCommand)
    @click.argument("operands", nargs=-1, metavar=METAVAR)
    @click.option("-p", "--port", type=int)
    @click.pass_context
    def command(ctx: click.Context, /, operands: tuple[str, ...], port: int | None) -> None:
        found.update(operands=operands, port=port, command=command_of(ctx), usage=command.get_usage(ctx))

    command.main(list(arguments), prog_name="deploy run", standalone_mode=False)
    return found


def test_options_are_read_anywhere_before_the_dashes_and_never_after_them():
    found = parsed("blasto", "-p", "80", "web=2", "--", "flask", "-p", "--", "x", "--help")
    assert found == {
        "operands": ("blasto", "web=2"),
        "port": 80,
        "command": ("flask", "-p", "--", "x", "--help"),
        "usage": "Usage: deploy run [OPTIONS] [APP|REF] [TYPE[=N]]... [-- CMD...]",
    }


def test_no_dashes_no_command():
    assert parsed("blasto")["command"] is None
    assert parsed("blasto", "--")["command"] == ()


def test_without_process_types_all_but_release_are_started_web_first():
    assert list(choose_formation({}, processes=["clock", "release", "web"], formation={}, where="blasto").items()) == [
        ("web", 1),
        ("clock", 1),
    ]


def test_app_json_says_how_many():
    chosen = choose_formation({}, processes=["web", "worker", "clock"], formation={"web": 2, "clock": 0}, where="x")
    assert chosen == {"web": 2, "worker": 1}


def test_what_is_named_wins_over_app_json_and_release_may_be_named():
    assert choose_formation({"release": 1}, processes=["web", "release"], formation={"web": 2}, where="x") == {
        "release": 1
    }


def test_an_unknown_process_type_lists_the_known_ones_and_the_nearest():
    with pytest.raises(UsageError) as caught:
        choose_formation({"wrker": 1}, processes=["web", "worker"], formation={}, where="blasto")
    assert str(caught.value) == (
        "blasto has no process type 'wrker'\n\nIt has web, worker.\n\nhint: did you mean 'worker'?"
    )


def test_a_formation_of_nothing():
    with pytest.raises(UsageError) as caught:
        choose_formation({"web": 0}, processes=["web", "worker"], formation={}, where="blasto")
    assert str(caught.value) == (
        "there is nothing to start in blasto\n\n"
        "Every process type (web, worker) is left out or has the quantity 0.\n\n"
        "hint: name a process type, for example `web=1`, or set its quantity in app.json."
    )

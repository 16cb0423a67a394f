"""The programs that a Procfile's command starts, found without a shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.checks.commands import Invocation, find_slip, parse_command, split_words

GUNICORN = Invocation(program="gunicorn", arguments=("blasto:APP",))


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn blasto:APP",
        "exec gunicorn blasto:APP",
        "gunicorn 'blasto:APP'",
        'gunicorn "blasto:APP"',
        "gunicorn blasto\\:APP",
        "python -m gunicorn blasto:APP",
        "python3 -u -X utf8 -Wignore -m gunicorn blasto:APP",
        "newrelic-admin run-program gunicorn blasto:APP",
        "ddtrace-run gunicorn blasto:APP",
        "exec dumb-init -- gunicorn blasto:APP",
        "pipenv run gunicorn blasto:APP",
        "bash -c 'exec gunicorn blasto:APP'",
        "gunicorn blasto:APP 2>&1",
        "gunicorn blasto:APP > /dev/null",
        "/opt/venv/bin/gunicorn blasto:APP",
        "exec -a web gunicorn blasto:APP",
        "env -u X gunicorn blasto:APP",
        "env -i gunicorn blasto:APP",
        "timeout 5 gunicorn blasto:APP",
        "timeout -k 5 --signal=TERM 5s gunicorn blasto:APP",
        "nice -n 5 gunicorn blasto:APP",
        "stdbuf -oL gunicorn blasto:APP",
        "flock -n /tmp/lock gunicorn blasto:APP",
        "tini -s -- gunicorn blasto:APP",
        "bash -exc 'gunicorn blasto:APP'",
        "bash -o pipefail -ec 'gunicorn blasto:APP' name",
        "bash --login -c 'nice gunicorn blasto:APP'",
    ],
)
def test_one_program(command: str) -> None:
    assert parse_command(command) == (GUNICORN,)


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("python manage.py migrate && gunicorn mysite.wsgi", ["python", "gunicorn"]),
        ("./migrate; gunicorn blasto:APP", ["./migrate", "gunicorn"]),
        ("gunicorn blasto:APP | tee log", ["gunicorn", "tee"]),
        ("celery -A blasto beat & celery -A blasto worker", ["celery", "celery"]),
        ("python -c 'import blasto'", ["python -c"]),
        ("python -", ["python"]),
    ],
)
def test_several(command: str, programs: list[str]) -> None:
    assert [one.program for one in parse_command(command)] == programs


def test_where_it_runs_and_what_it_sets() -> None:
    [one] = parse_command("cd src/ && DEBUG=1 env PORT_NAME='a b' gunicorn blasto:APP")
    assert (one.folder, dict(one.variables)) == ("src", {"DEBUG": "1", "PORT_NAME": "a b"})
    [one] = parse_command("export A=1 B=2; cd /app/src/../web; gunicorn blasto:APP")
    assert (one.folder, dict(one.variables)) == ("web", {"A": "1", "B": "2"})
    for elsewhere in ("/srv", "$HOME", "~", "..", "a b"):
        [one] = parse_command(f"cd {elsewhere} && gunicorn blasto:APP")
        assert one.folder is None


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn $(cat target)",
        "gunicorn `cat target`",
        "if true; then gunicorn blasto:APP; fi",
        "(cd src && gunicorn blasto:APP)",
        "{ gunicorn blasto:APP; }",
        "gunicorn 'blasto:APP",
        'gunicorn "blasto',
        "timeout --tomorrow 5 gunicorn blasto:APP",
        "timeout 5",
        "bash -e gunicorn",
        "eval gunicorn",
        ". ./activate && gunicorn blasto:APP",
        'bash -c "bash -c \'bash -c \\"bash -c bash\\"\'"',
        "",
    ],
)
def test_what_only_a_shell_can_tell(command: str) -> None:
    assert [one for one in parse_command(command) if one.program == "gunicorn"] == []


SLIPS = {
    "gunicorn blasto.app:create_app()": "blasto.app:create_app()",
    "cd src && gunicorn blasto:make(1) -w 3": "blasto:make(1)",
    "gunicorn 'blasto:APP": "'blasto:APP",
    'gunicorn --name="my app blasto:APP': '--name="my app blasto:APP',
    "echo it's": "it's",
}
SOUND = (
    *("gunicorn 'blasto.app:create_app()'", "(cd src && gunicorn blasto:APP)", "echo hi # don't", 'python -c "a # b"'),
    *("serve() { gunicorn blasto:APP; }; serve", "a=(1 2) gunicorn", "echo it\\'s \\(", "echo ${A:-'('} $'('", "#'"),
)


@pytest.mark.parametrize("command", [*SLIPS, *SOUND])
def test_what_no_shell_can_read(command: str) -> None:
    assert find_slip(command) == SLIPS.get(command)
    done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
    assert (done.returncode != 0) == (command in SLIPS)


@given(st.text(max_size=80))
def test_any_text_is_parsed(command: str) -> None:
    for one in parse_command(command):
        assert one.program
    assert find_slip(command) in {None, *(command[at:end] for at in range(81) for end in range(at, 82))}


@given(
    st.lists(
        st.text(
            min_size=1, alphabet=st.characters(codec="ascii", exclude_characters="\0`$\\\n\r\x0b\x0c\x1c\x1d\x1e\x1f")
        ),
        max_size=5,
    )
)
def test_words_are_split_as_a_shell_does(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == tuple(words)

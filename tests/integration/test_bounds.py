"""Numbers, ports, URLs and text beyond every bound: each command and each wire format refuses them as what they are.

Exit code 1 would mean a bug of ours. Input that once took more than linear time is read in a process with a limit on
processor time, which other work on the machine does not use up.
"""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import click
import pytest

from deployer.cli.command import COMMANDS, run
from deployer.cli.command import deploy as group
from tests.support.command import ROOT, deploy
from tests.support.tiny import with_stack, write_app

HUGE = "9" * 5000
LONG = "l" * 300
"""Longer than any file's name may be."""
NUMBERS = {"digits": HUGE, "minus": "-1", "infinite": "1e400", "nan": "nan", "arabic": "٣", "hex": "0x10"}
ADDRESSES = {
    "bracket": "http://[::1",
    "digits": f"http://127.0.0.1:{HUGE}/",
    "port": "http://127.0.0.1:99999/",
    "empty": "//[",
    "zero": "http://127.0.0.1:0/",
}

LISTING = {"init", "add", "remove", "export", "completion", "cache"}
"""Commands whose first operand need not be an app or image that exists."""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give back the handlers that a command in this process takes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _machine(seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a store of one's own and no engine."""
    monkeypatch.setenv("DEPLOY_HOME", str(with_stack(seed, tmp_path / "home")))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


def options() -> list[tuple[str, str]]:
    """Every option of every command that takes a value."""
    found = []
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for each in commands:
            words = name if each is command else f"{name} {each.name}"
            found += [
                (words, option.opts[-1])
                for option in each.params
                if isinstance(option, click.Option) and not option.is_flag and not option.count
            ]
    return found


@pytest.mark.parametrize(("command", "option"), options(), ids=lambda each: str(each).replace(" ", "-"))
def test_no_value_of_an_option_is_a_bug_of_ours(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in (HUGE, ADDRESSES["bracket"], LONG):
        code = run([*command.split(), f"{option}={value}", str(tmp_path / "nowhere")])
        said = capsys.readouterr().err
        assert code not in {0, 1}, said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        *((f"{command} APP --stack={kind}:LONG", 30) for command in ("check", "build") for kind in ("oci", "archive")),
        *((f"build APP --to={kind}:LONG", 70) for kind in ("oci", "archive")),
        ("local APP --venv=LONG", 2),
        ("build APP --env-file=LONG", 2),
        *((f"export {kind} APP -o LONG", 70) for kind in ("systemd", "compose")),
        ("init -y --no-lock LONG", 70),
        *((f"{command} ./LONG", 2) for command in COMMANDS if command not in LISTING),
        *((f"{command} LONG", 2) for command in COMMANDS if command not in LISTING),
        ("add flask --app LONG", 10),
    ],
)
def test_a_name_that_is_too_long_is_an_error(
    arguments: str, expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = write_app(tmp_path / "tiny", {})
    words = [word.replace("APP", str(app)).replace("LONG", LONG) for word in arguments.split()]
    code = run(words)
    said = capsys.readouterr().err
    assert code == expected, said
    assert "Traceback" not in said


def test_an_app_that_names_what_cannot_exist_lacks_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = write_app(tmp_path / "tiny", {})
    commands = ("./LONG", "./LONG/x", "python LONG.py", "python -m LONG", "gunicorn LONG:app", "celery -A LONG worker",
                "gunicorn --chdir LONG tiny:app", "gunicorn -c LONG.py tiny:app", "cd LONG && python x.py")  # fmt: skip
    procfile = "".join(f"p{number}: {command}\n" for number, command in enumerate(commands))
    (app / "Procfile").write_text(procfile.replace("LONG", LONG))
    (app / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = {LONG}\n')

    code = run(["check", str(app)])

    said = capsys.readouterr().err
    assert code == 10, said
    for number in (0, 1, 2, 8):
        assert f"Procfile:{number + 1}: `p{number}` starts {LONG}" in said
    for number in (3, 4, 5):
        assert f"there is no module `{LONG}`" in said
        assert f"Procfile:{number + 1}: `p{number}` has" in said


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("SOURCE_DATE_EPOCH", ["build"]),
        ("SOURCE_DATE_EPOCH", ["ci", "--no-boot"]),
        ("PORT", ["local", f"--venv={sys.prefix}"]),
        ("PORT", ["export", "systemd", "-e"]),
    ],
    ids=["build", "ci", "local", "export"],
)
def test_a_number_in_the_environment_is_wrong_usage(
    variable: str,
    arguments: list[str],
    value: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.chdir(write_app(tmp_path / "tiny", {}))
    code = run([*arguments, f"PORT={value}"] if arguments[-1] == "-e" else arguments)
    said = capsys.readouterr().err
    assert (code, variable in said) == (2, True), said


def test_a_port_for_ci_without_an_engine_is_wrong_usage(tmp_path: Path) -> None:
    app = write_app(tmp_path / "tiny", {})
    done = deploy("ci", app, "--engine", "local", "--no-test", "-e", f"PORT={HUGE}", home=tmp_path / "home")
    assert done.code == 2, done.err
    assert "error: PORT is '9999" in done.err


@contextmanager
def answering(head: str, body: bytes = b"{}") -> Iterator[str]:
    """Answer every request with the same bytes; gives host and port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                while file.readline().strip():
                    pass
                connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = listener.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


JSON = "HTTP/1.1 200 OK\nContent-Type: application/vnd.oci.image.manifest.v1+json\nConnection: close"
REALM = 'HTTP/1.1 401 No\nContent-Length: 2\nWWW-Authenticate: Bearer realm="{}",service="x"'
REGISTRIES: Mapping[str, tuple[str, bytes]] = {
    "length of 5,000 digits": (f"HTTP/1.1 200 OK\nContent-Length: {HUGE}", b""),
    "negative length": ("HTTP/1.1 200 OK\nContent-Length: -5", b""),
    **{f"redirect, {name}": (f"HTTP/1.1 307 Go\nLocation: {url}", b"") for name, url in ADDRESSES.items()},
    **{f"realm, {name}": (REALM.format(url), b"") for name, url in ADDRESSES.items()},
    "manifest's size of 5,000 digits": (JSON, b'{"config": {"size": %s}}' % HUGE.encode()),
    "manifest's size without end": (JSON, b'{"config": {"size": 1e400}, "layers": [{"size": NaN}]}'),
    "manifest whose type is a list": (JSON, b'{"mediaType": [[]]}'),
    "manifest with half a surrogate pair": (JSON, rb'{"mediaType": "\ud800"}'),
    "manifest that nests": (JSON, b'{"layers": ' + b"[" * 100_000),
    "no status": ("HTTP/1.1 " + HUGE, b""),
}


@pytest.mark.parametrize(("head", "body"), REGISTRIES.values(), ids=REGISTRIES)
def test_no_answer_of_a_registry_is_a_bug_of_ours(
    head: str, body: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(head, body) as host:
        for words in (["build", "--stack", f"{host}/base:1"], ["inspect", "--remote", f"{host}/app:1"]):
            monkeypatch.chdir(write_app(tmp_path / words[0], {}))
            code = run(words)
            said = capsys.readouterr().err
            assert code == 30, said
            assert "Traceback" not in said


LINK = '<a href="tiny-1.0-py3-none-any.whl#sha256={}" data-requires-python="{}">x</a>'
PAGE = "HTTP/1.1 200 OK\nContent-Type: {}\nContent-Length: {}"
INDEXES: Mapping[str, str] = {
    "requires-python": "".join(LINK.format("0" * 64, f"&gt;={text}") for text in NUMBERS.values()),
    "links": "".join(f'<a href="{url}tiny-1.0.whl">x</a>' for url in ADDRESSES.values()),
    "base": f'<base href="{ADDRESSES["digits"]}">{LINK.format("0" * 64, "")}',
    "character of 5,000 digits": LINK.format("0" * 64, f"&#{HUGE};"),
    "version of 5,000 digits": LINK.format("0" * 64, "").replace("1.0", "9" * 240),
}


@pytest.mark.parametrize("page", INDEXES.values(), ids=INDEXES)
def test_no_page_of_an_index_is_a_bug_of_ours(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(PAGE.format("text/html", len(page)), page.encode()) as host:
        packages = {"tiny": {"hashes": ["sha256:" + "0" * 64], "version": "==1.0"}}
        monkeypatch.chdir(write_app(tmp_path / "app", packages, source=f"http://{host}/simple"))
        code = run(["build"])
        said = capsys.readouterr().err
        assert code == 20, said
        assert "Traceback" not in said


@pytest.mark.parametrize("url", ADDRESSES.values(), ids=ADDRESSES)
def test_the_address_of_an_index_is_not_a_bug_of_ours(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"tiny": {"hashes": ["sha256:" + "0" * 64], "version": "==1.0"}}
    monkeypatch.chdir(write_app(tmp_path / "app", packages, source=url.replace("//", "//user:s3cret@", 1)))
    code = run(["build"])
    said = capsys.readouterr().err
    assert code in {10, 20}, said
    assert "s3cret" not in said


LINEAR = {
    "comments of an index's page": """
        from buildpack.python.simple import parse_html
        parse_html(b"<!--" * 2_000_000, "http://index/")
    """,
    "quoted strings of a challenge": r"""
        from buildpack.oci.registry_tokens import parse_challenges
        parse_challenges('Bearer realm="' + '\\\\"' * 200_000)
        parse_challenges("Bearer " + "a" * 200_000)
        parse_challenges("Bearer " + "a " * 200_000)
    """,
    "variables of an env file": """
        from pathlib import Path
        from deployer.settings.environment import parse_env
        from buildpack.errors import AppError
        for text in ("A=" + "${" * 400_000, "A=" + "${a:" * 200_000 + "}", "A=b" + " " * 1_000_000 + "c"):
            try:
                parse_env(text, Path(".env"), environ={})
            except AppError:
                pass
    """,
    "lines of an env file": """
        from pathlib import Path
        from deployer.settings.environment import parse_env
        parse_env("".join(f"a{n}=b\\n" for n in range(80_000)), Path(".env"), environ={})
    """,
    "parts of a key": """
        from buildpack.app.textfile import parse_toml
        from buildpack.errors import AppError
        for part in ("a.", '"a".', "'a' . "):
            try:
                parse_toml(part * 300_000 + "a = 1", "deploy.toml")
            except AppError as error:
                assert "parts" in str(error) + error.why, error
    """,
    "quotes of a string": r"""
        from buildpack.app.textfile import parse_toml
        from buildpack.errors import AppError
        try:
            parse_toml('a = "' + '\\"' * 200_000, "deploy.toml")
        except AppError:
            pass
    """,
    "imports of a module": r"""
        from buildpack.app.checks.imports import _confirm
        assert len(list(_confirm("a.py", b"import q\n" * 30_000, {"q": ""}, certain=True))) == 30_000
    """,
    "keys of an object": """
        import json
        from buildpack.app.textfile import parse_json
        from buildpack.errors import AppError
        try:
            parse_json("{" + ",".join(f'"k{n}": 1' for n in range(200_000)) + ', "k1": 2}', "app.json", hint="x")
        except AppError:
            pass
    """,
    "headers of a Pipfile": """
        from buildpack.app.pipfile import _lines
        _lines("[" + " " * 200_000)
    """,
    "blank lines of a settings file": """
        from buildpack.app.settings import _line
        _line("\\n" * 400_000 + " " * 400_000, "name")
    """,
    "blank lines of Django's settings": """
        from buildpack.app.checks.files import _SET
        _SET.search(b"\\n" * 400_000 + b"from " + b" " * 400_000)
    """,
    "lines of a Procfile": """
        from buildpack.app.procfile import parse_procfile
        from buildpack.errors import AppError
        text = "\\n".join(f"p{number}: x" for number in range(100_000))
        assert len(parse_procfile(text).processes) == 100_000
        try:
            parse_procfile(text.replace(":", ""))
        except AppError:
            pass
    """,
    "quotes of a command": """
        from buildpack.app.checks.commands import find_slip
        find_slip("${" * 100_000)
    """,
    "a log of a failed package build": """
        from buildpack.python.build_failure import missing_parts
        missing_parts("\\n".join(["a" * 400_000, "cargo " * 100_000]))
    """,
    "a line of requirements.txt": """
        from deployer.scaffold.requirements import parse_requirements
        parse_requirements(["a" + " " * 400_000 + "b", "a; " + "(" * 100_000])
    """,
    "records of a tar header": """
        from buildpack.oci.tar_reader import parse_pax
        parse_pax(b"6 a=b\\n" * 170_000, "image.tar")
    """,
    "variables of an index's address": """
        from buildpack.app.indexes import expand_url
        expand_url("http://" + "${" * 400_000, {}, where="x")
    """,
}


def test_what_strangers_write_takes_linear_time() -> None:
    script = "".join(f"{dedent(code)}\nprint({name!r}, flush=True)\n" for name, code in LINEAR.items())
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )
    assert (done.stdout.splitlines(), done.returncode) == ([*LINEAR], 0), done.stderr


def test_an_env_file_that_expands_without_bound_is_refused(tmp_path: Path) -> None:
    app = write_app(tmp_path / "tiny", {})
    names = [chr(ord("a") + number) for number in range(26)]
    lines = ["a=0123456789", *(f"{name}=${{{last}}}${{{last}}}" for last, name in pairwise(names))]
    (app / ".env").write_text("\n".join(lines) + "\n")
    done = deploy("local", app, f"--venv={sys.prefix}", home=tmp_path / "home")
    assert done.code == 10, done.err
    assert f"error: {app}/.env expands to more than 2 MB\n\n{app}/.env:18 refers to variables" in done.err


def test_term_ends_a_command_whose_interpreter_is_busy_in_c() -> None:
    """A regular expression holds the interpreter, so that no handler and no thread of Python's runs."""
    busy = """
        import re, signal
        from deployer.interrupts import watched
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        with watched(0.1):
            print("ready", flush=True)
            re.match("(a+)+$", "a" * 64 + "b")
    """
    with subprocess.Popen([sys.executable, "-c", dedent(busy)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait() == -signal.SIGKILL


def test_term_and_int_end_deploy_while_it_is_busy_in_c() -> None:
    """The command itself, with its own handlers and its own patience."""
    busy = """
        import os, sys
        from collections import deque
        from itertools import chain, repeat, starmap
        from deployer.cli import check, main

        def look(**options):
            deque(chain(starmap(os.write, [(1, b"ready\\n")]), repeat(None)), maxlen=0)

        check.command.callback = look
        sys.argv = ["deploy", "check"]
        main()
    """
    with ExitStack() as started:
        processes = [
            started.enter_context(
                subprocess.Popen([sys.executable, "-c", dedent(busy)], cwd=ROOT, stdout=subprocess.PIPE)
            )
            for _ in range(2)
        ]
        for process, number in zip(processes, (signal.SIGTERM, signal.SIGINT), strict=True):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
        assert [process.wait() for process in processes] == [-signal.SIGKILL, -signal.SIGKILL]


def test_the_helper_ends_with_the_command() -> None:
    """It holds neither standard output nor the command's exit."""
    code = "from deployer.interrupts import watched\nwith watched(): print('done')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"done\n"

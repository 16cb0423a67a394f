"""Each hint names options that the failed command accepts, and the app for which it failed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from buildpack.errors.stacks import libraries_not_there
from deployer.cli.command import COMMANDS, CONTEXT, deploy
from deployer.cli.hints import Call, call_of, fit_hint, fit_warning, options_in, read_call
from deployer.cli.messages import print_warning

ROOT = Path(__file__).parents[4]


def commands() -> Iterator[tuple[str, click.Command]]:
    root = click.Context(deploy, info_name="deploy", **CONTEXT)
    for name in COMMANDS:
        command = deploy.get_command(root, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", sub) for each, sub in command.commands.items())
        else:
            yield name, command


ALL = dict(commands())
CALLS = {name: read_call(deploy, shlex.split(name)) for name in ALL}

PIPELINE = ("build", "run", "ci", "check", "verify", "local", "lock")
"""Commands that read, plan or build an app."""

OWN = {
    "deployer/errors/ci.py": ("ci",),
    "deployer/errors/engines.py": ("run", "ci", "local"),
    "deployer/errors/files.py": ("init", "lock", "add", "remove", "export systemd", "export compose"),
    "deployer/errors/proof.py": ("verify", "inspect"),
}
"""Modules that word the errors of these commands only."""


Names = dict[str, list[ast.expr]]
"""The values that a name may have in a function: those assigned to it, or those that a function of the name returns."""


def text_of(node: ast.AST, names: Names) -> str:
    """Return the text of an expression, with all alternatives; values that are filled in later read ``X``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(each, names) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value, names) if is_text(node.value) else "X"
    if isinstance(node, ast.IfExp | ast.BoolOp):
        parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
        return "; ".join(text_of(each, names) for each in parts)
    if isinstance(node, ast.Name):
        others = {name: values for name, values in names.items() if name != node.id}
        return "; ".join(text for each in names.get(node.id, ()) if (text := text_of(each, others)))
    children = (child.value if isinstance(child, ast.keyword) else child for child in ast.iter_child_nodes(node))
    return "".join(text_of(each, names) for each in children if isinstance(each, ast.expr))


def is_text(node: ast.expr) -> bool:
    """Return True for a module's own sentence, such as ``{_AROUND}``, which is written in capitals."""
    return isinstance(node, ast.Name) and node.id.strip("_").isupper()


def bindings(tree: ast.AST) -> Names:
    """Return the values that the names in a tree may have."""
    found: Names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                values = node.value.elts if isinstance(node.value, ast.Tuple) else []
                pairs = zip(names, values if len(values) == len(names) else [node.value] * len(names), strict=True)
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
        if isinstance(node, ast.FunctionDef):
            returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
            found.setdefault(node.name, []).extend(returned)
    return found


@cache
def functions() -> list[tuple[str, ast.FunctionDef, Names]]:
    """Return each function of the code, with its module and the values that its names may have."""
    found = []
    for top in ("buildpack", "deployer"):
        for path in sorted((ROOT / top).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "errors" not in str(path) and "hint=" not in source:
                continue
            tree = ast.parse(source)
            module = {name: values for each in tree.body for name, values in bindings(each).items()}
            found += [
                (str(path.relative_to(ROOT)), node, {**module, **bindings(node)})
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef)
            ]
    return found


@cache
def hints() -> list[tuple[str, str]]:
    """Return each hint in the code, with the module that words it."""
    found = [
        (module, text_of(node.value, names), node.value)
        for module, function, names in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.keyword) and node.arg == "hint"
    ]
    unknown = [(module, ast.unparse(node)) for module, text, node in found if not text.strip(" ;.")]
    assert {words for _, words in unknown} <= HANDED_ON, unknown
    return [(module, text) for module, text, _ in found if text]


HANDED_ON = {"error.hint", "self.hint", "hint", "' '.join(ways)", "show(hint)"}
"""Hints of another error, and arguments of functions; the tests read them at the place of the call."""


@cache
def warnings() -> list[tuple[str, str]]:
    """Return each text that the modules of errors return, with its module."""
    return [
        (module, text_of(node.value, names))
        for module, function, names in functions()
        if "errors" in module and function.returns and ast.unparse(function.returns) in {"str", "Notice"}
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value
    ]


def test_there_are_hints_to_look_at():
    assert len(hints()) > 200
    assert {module for module, _ in hints()} > set(OWN)


@pytest.mark.parametrize("name", ALL)
def test_a_hint_names_only_options_of_the_command_that_failed(name):
    wrong = [
        (text, fitted) for _, text in hints() if options_in(fitted := fit_hint(text, CALLS[name])) - CALLS[name].options
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ALL)
def test_a_warning_advises_only_options_of_the_command_that_prints_it(name):
    assert len(warnings()) > 100
    with ALL[name].make_context(name, [], parent=click.Context(deploy), resilient_parsing=True):
        advice = [fit_warning(text).partition("; ")[2] for _, text in warnings()]
    assert [text for text in advice if options_in(text) - CALLS[name].options] == []


def test_a_warning_leaves_out_what_the_command_lacks():
    text = "app.py:1 imports six; limit it with `--memory 1g`, or `--cpus 2`, or take `--stack host`."
    with ALL["lock"].make_context("lock", [], parent=click.Context(deploy)):
        assert fit_warning(text) == 'app.py:1 imports six; take `stack = "host"` in deploy.toml.'
    with ALL["cache info"].make_context("info", [], parent=click.Context(deploy)):
        assert fit_warning("a is b; see `--json`, or `--stack X`.") == "a is b; see `--json`."


@pytest.mark.parametrize("name", PIPELINE)
def test_a_hint_of_the_library_says_something_in_each_command_that_uses_it(name):
    silent = [text for module, text in hints() if module.startswith("buildpack/") and not fit_hint(text, CALLS[name])]
    # One is about the operand of an option; and only commands that have -t push.
    silent = [text for text in silent if not text.startswith("for example `--build-env")]
    assert [text for text in silent if options_in(text) != {"-t"}] == []


@pytest.mark.parametrize("module", OWN)
def test_a_hint_of_some_commands_is_written_for_one_of_them(module):
    own = [text for where, text in hints() if where == module]
    assert [text for text in own if not any(fit_hint(text, CALLS[name]) == text for name in OWN[module])] == []


def test_a_command_in_a_hint_has_the_options_that_the_hint_gives_it():
    wrong = []
    for module, text in hints():
        for span in re.findall(r"`deploy ([^`]*)`", text):
            words = span.partition(" -- ")[0].removesuffix("X").split()  # X is the operand that is filled in
            name = " ".join(words[:2]) if " ".join(words[:2]) in ALL else words[0]
            named = {word.partition("=")[0] for word in words if word.startswith("-")}
            if name not in ALL or not named <= CALLS[name].options:
                wrong.append((module, span))
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "hint", "shown"),
    [
        ("build", "start it, or set X; `--to archive:FILE` needs no engine.", None),
        ("run", "start it, or set X; `--to archive:FILE` needs no engine.", "start it, or set X."),
        ("run", "`--stack host` needs no registry.", None),
        ("local", "`--stack host` needs no registry.", '`stack = "host"` in deploy.toml needs no registry.'),
        ("inspect", "look again; `--stack host` needs no registry.", "look again."),
        (
            "local",
            'take a base: `--stack python:3.12-slim`, or `stack = "python:3.12-slim"` in deploy.toml.',
            'take a base: `stack = "python:3.12-slim"` in deploy.toml.',
        ),
        ("lock", "build with `--no-cache`, which is slow.", "build with `deploy build --no-cache`, which is slow."),
        ("local", "write `gunicorn --bind 0.0.0.0:$PORT`.", None),
        ("build", "did you mean 'web'?", None),
    ],
)
def test_what_a_command_lacks_is_said_in_another_way_or_left_out(command, hint, shown):
    assert fit_hint(hint, CALLS[command]) == (hint if shown is None else shown)


@pytest.mark.parametrize("name", PIPELINE)
def test_the_lines_of_a_dockerfile_are_shown_as_they_are(name):
    """apt-get's options are not those of the command that failed."""
    hint = libraries_not_there("psycopg2", "2.9", ["libpq.so.5"], "python:3.12-slim", instead="psycopg2-binary").hint
    lines = hint.partition("\n")[2]
    assert lines.startswith("  FROM python:3.12-slim\n  RUN apt-get update && apt-get install -y")
    fitted = fit_hint(hint, CALLS[name])
    assert fitted.startswith("lock psycopg2-binary instead of psycopg2, or make a base that has the libraries")
    assert fitted.endswith(f"Its Dockerfile:\n{lines}")


@pytest.mark.parametrize(
    ("line", "hint", "shown"),
    [
        ("build examples/blasto", "run `deploy lock`, then.", "run `deploy lock examples/blasto`, then."),
        ("build", "run `deploy lock`.", "run `deploy lock`."),
        ("build .", "run `deploy lock`.", "run `deploy lock`."),
        ("run ./shop web=2", "see `deploy run -- sh`.", "see `deploy run ./shop -- sh`."),
        ("run shop:1.0", "`deploy run -- sh`; or `deploy lock`.", "`deploy run shop:1.0 -- sh`; or `deploy lock`."),
        ("run web=2", "see `deploy run -- sh`.", "see `deploy run -- sh`."),
        ("check ./shop --stack host", "then `deploy build`.", "then `deploy build shop --stack host`."),
        ("check ./shop --stack host", "then `deploy build --stack oci:X`.", "then `deploy build shop --stack oci:X`."),
        ("build ./a\\ b", "run `deploy lock`.", "run `deploy lock 'a b'`."),
        ("ci ./x", "run `deploy add six`.", "write the app's packages and six into a Pipfile, run `deploy lock x`."),
    ],
)  # fmt: skip
def test_a_command_in_a_hint_names_the_app_and_the_stack_of_the_one_that_failed(line, hint, shown):
    assert fit_hint(hint, read_call(deploy, shlex.split(line))) == shown


def test_packages_are_added_to_the_app_of_the_command_if_it_has_a_pipfile(tmp_path, capsys):
    (tmp_path / "Pipfile").touch()
    app, hint = shlex.quote(str(tmp_path)), "run `deploy add six`."
    call = read_call(deploy, ["build", str(tmp_path)])
    assert fit_hint(hint, call) == f"run `deploy add six --app {app}`."
    root = click.Context(deploy, info_name="deploy", **CONTEXT)
    with ALL["check"].make_context("check", [str(tmp_path)], parent=root):
        print_warning(f"app.py:1 imports six; {hint}")
    assert capsys.readouterr().err == f"warning: app.py:1 imports six; run `deploy add six --app {app}`.\n"


def test_the_app_of_a_command_for_packages_is_its_option(tmp_path, monkeypatch):
    (tmp_path / "flask").mkdir()
    monkeypatch.chdir(tmp_path)
    for words, folder in ((["add", "flask"], ""), (["remove", "flask", "--app", "flask"], "flask")):
        assert read_call(deploy, words).folder == folder


def test_a_call_is_known_without_reading_its_line_again():
    root = click.Context(deploy, info_name="deploy", **CONTEXT)
    context = ALL["ci"].make_context("ci", ["./shop", "--stack", "host"], parent=root)
    assert call_of(context) == read_call(deploy, ["ci", "./shop", "--stack", "host"])
    assert read_call(deploy, []) == Call()
    assert read_call(deploy, ["export"]) == Call()

"""Heroku's hooks: run on a copy, with the lock's packages, and what they leave is in the app's layer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from buildpack.errors import BuildpackError
from buildpack.oci.store import Store
from buildpack.steps.built import BuiltImage
from tests.conftest import missing
from tests.support import tiny
from tests.support.bases import make_base
from tests.support.command import ENTERING, NOBODY, deploy
from tests.support.index import Index, serving
from tests.support.running import Running

OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[os.uname().machine]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with serving() as index:
        yield index


@pytest.fixture(scope="module")
def origin(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app whose lock has the package ``alpha``."""
    folder = tmp_path_factory.mktemp("origin")
    return tiny.write_app(folder / "app", tiny.add_wheels(index, folder / "wheels", "alpha"))


@pytest.fixture(scope="module")
def home(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.with_stack(seed, tmp_path_factory.mktemp("home") / "home")


@pytest.fixture
def app(origin: Path, tmp_path: Path) -> Path:
    copied = Path(shutil.copytree(origin, tmp_path / "tiny"))
    (copied / "bin").mkdir()
    return copied


@pytest.fixture
def environ(index: Index) -> dict[str, str]:
    return {**os.environ, **tiny.environ(index)}


def write(app: Path, name: str, text: str, *, executable: bool = True) -> None:
    path = app / "bin" / name
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)


def shipped(built: BuiltImage, home: Path) -> dict[str, bytes | str | None]:
    """The app's layer: contents by path, a link's target as text."""
    with Store(home).open(built.layers[-1][0].layer.digest) as blob, tarfile.open(fileobj=blob, mode="r:gz") as layer:
        found: dict[str, bytes | str | None] = {}
        for member in layer:
            if member.name.startswith("app/") and not member.isdir():
                content = layer.extractfile(member) if member.isreg() else None
                found[member.name[4:]] = content.read() if content else member.linkname
                assert (member.uid, member.gid, member.mtime) == (1000, 0, 315532800)
        return found


def fail(app: Path, home: Path, environ: dict[str, str], **options: object) -> str:
    with pytest.raises(BuildpackError) as raised:
        tiny.build_here(app, home, environ, **options)
    assert raised.value.exit_code == 10
    assert list((home / "tmp").glob("*")) == []  # not there before the first build
    return str(raised.value)


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (status.st_mode, status.st_mtime_ns, status.st_ctime_ns) for path, status in found.items()}


def test_hooks_run_in_order_on_a_copy_and_what_they_leave_is_shipped(app, home, environ):
    write(
        app,
        "pre_compile",
        "#!/bin/sh\nset -e\necho pre > order.txt\nrm huge/__init__.py\nln -s ../order.txt tiny/order\n",
    )
    # Neither executable nor with a first line: Heroku runs it all the same.
    post = (
        "echo post >> order.txt\npython -c 'import alpha, tiny; print(alpha.__name__, tiny.__name__)' > imported.txt\n"
    )
    write(
        app,
        "post_compile",
        post + "run-alpha --help >/dev/null 2>&1; command -v run-alpha > where.txt\n",
        executable=False,
    )
    before = snapshot(app)
    built = tiny.build_here(app, home, environ)
    found = shipped(built, home)
    assert snapshot(app) == before
    assert found["order.txt"] == b"pre\npost\n"
    assert found["imported.txt"] == b"alpha tiny\n"
    assert found["where.txt"].endswith(b"/bin/run-alpha\n")
    assert found["tiny/order"] == "../order.txt"
    assert found["bin/post_compile"] == (app / "bin/post_compile").read_bytes()
    assert "huge/__init__.py" not in found
    assert "tiny/__init__.py" in found
    assert built.warnings == ()


NLTK = b"""
import pathlib, sys

def download(name, download_dir):
    print("[nltk_data] Downloading", name)
    if name == "nothing":
        print("[nltk_data] Error loading nothing: not in index")
        return False
    pathlib.Path(download_dir, "corpora").mkdir(parents=True, exist_ok=True)
    pathlib.Path(download_dir, "corpora", name).write_text("data of " + name)
    return True
"""


@pytest.fixture
def reader(index: Index, tmp_path: Path) -> Path:
    """An app whose lock has NLTK, as far as hooks see it."""
    return tiny.write_app(tmp_path / "tiny", tiny.add_wheels(index, tmp_path / "wheels", "nltk", body=NLTK))


def test_data_that_nltk_txt_names_is_shipped_where_nltk_looks_for_it(reader, home, environ):
    (reader / "nltk.txt").write_text("stopwords\npunkt wordnet\n")
    found = shipped(tiny.build_here(reader, home, environ), home)
    data = {path: content for path, content in found.items() if path.startswith("nltk_data/")}
    assert data == {
        f"nltk_data/corpora/{name}": f"data of {name}".encode() for name in ("punkt", "stopwords", "wordnet")
    }


def test_data_that_nltk_does_not_have_is_an_error(reader, home, environ):
    (reader / "nltk.txt").write_text("nothing stopwords\n")
    said = fail(reader, home, environ)
    assert said.startswith("NLTK could not download what nltk.txt names\n\n")
    assert "[nltk_data] Error loading nothing: not in index\n  [nltk_data] Downloading stopwords\n" in said


def test_nltk_txt_without_nltk_changes_nothing(app, home, environ):
    (app / "nltk.txt").write_text("stopwords\n")
    assert "nltk_data/corpora/stopwords" not in shipped(tiny.build_here(app, home, environ), home)


def test_hooks_see_what_is_documented_and_nothing_else(app, home, environ):
    planted = {
        "AWS_SECRET_ACCESS_KEY": "planted",
        "PYTHONHOME": "/nowhere",
        "LD_PRELOAD": "",
        "DEPLOY_REGISTRY_PASSWORD": "p",
    }
    with (app / "deploy.toml").open("a") as settings:
        settings.write('[build.env]\nGREETING = "hello, wörld"\nHOME = "/nowhere"\n')
    (app / "app.json").write_text(
        '{"env": {"GREETING": "from app.json", "MOTTO": {"value": "x"}, "KEY": {"generator": "secret"}}}'
    )
    script = "import os, sys; e = os.environ; print(*sorted(e)); print(e['GREETING'], e['GIVEN'], file=sys.stderr)"
    write(
        app,
        "post_compile",
        f"""#!/bin/sh
python -c "{script}" > names.txt 2> values.txt
[ "$PWD" = "$BUILD_DIR" ] && [ "$PWD" = "$PYTHONPATH" ] || exit 3
[ "$HOME" != "$PWD" ] && [ -w "$HOME" ] && [ -w "$TMPDIR" ] || exit 4
echo cached > "$HOME/.cache"; echo temporary > "$TMPDIR/x"
umask > mask.txt; id -u > user.txt; echo "$SOURCE_DATE_EPOCH" > epoch.txt
""",
    )
    built = tiny.build_here(app, home, {**environ, **planted}, build_env={"GIVEN": "by hand"})
    found = shipped(built, home)
    documented = {
        *("BUILD_DIR", "HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONPATH"),
        *("PYTHONUNBUFFERED", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ", "VIRTUAL_ENV", "GIVEN", "GREETING", "MOTTO"),
    }
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_", "LD_LIBRARY_PATH"}
    assert set(found["names.txt"].decode().split()) - of_the_shell == documented
    assert found["values.txt"] == "hello, wörld by hand\n".encode()
    assert found["mask.txt"] == b"0022\n"
    assert found["epoch.txt"] == b"315532800\n"
    assert found["user.txt"] != b"0\n"


def test_hooks_get_what_heroku_gives_them(app, home, environ):
    """BUILD_DIR, CACHE_DIR and ENV_DIR; the cache lasts from build to build, and decides nothing."""
    write(
        app,
        "post_compile",
        """#!/bin/sh -e
[ $# = 3 ] && [ "$1" = "$PWD" ]
cat "$3/GREETING" > greeting.txt
echo run >> "$2/runs"; wc -l < "$2/runs" > runs.txt
stat -c %a "$3" > mode.txt
""",
    )
    given = {"GREETING": "hello, wörld", "BYTES": os.fsdecode(b"\xff")}
    first = shipped(tiny.build_here(app, home, environ, build_env=given), home)
    (app / "tiny" / "page.html").write_text("<p>changed</p>\n")
    second = shipped(tiny.build_here(app, home, environ, build_env=given), home)
    assert first["greeting.txt"] == "hello, wörld".encode()
    assert first["mode.txt"] == b"700\n"  # other users see the path in the list of processes
    assert [first["runs.txt"].strip(), second["runs.txt"].strip()] == [b"1", b"2"]


def test_hooks_have_the_app_s_own_python_and_a_pip_for_it(app, home, environ):
    write(
        app,
        "post_compile",
        """#!/bin/sh -e
for name in python python3 pip; do [ "$(command -v $name)" = "$VIRTUAL_ENV/bin/$name" ]; done
python -c 'import sys; print(sys.prefix == sys.exec_prefix != sys.base_prefix)' > python.txt
pip list --format=freeze > packages.txt
! python -c 'import pip' 2> /dev/null
""",
    )
    found = shipped(tiny.build_here(app, home, environ), home)
    assert found["python.txt"] == b"True\n"
    assert found["packages.txt"] == b"alpha==1.0\n"


def test_an_edit_takes_the_environment_that_the_last_build_made(app, index, home, environ, tmp_path):
    # A package that no other test has: environments of root are in one place, for all stores.
    tiny.write_lock(app, tiny.add_wheels(index, tmp_path / "wheels", "omega", body=f"# {os.urandom(8).hex()}".encode()))
    script = "import omega; print(omega.__file__, omega.__cached__)"
    write(app, "post_compile", f"#!/bin/sh\npython -c '{script}' > where.txt\n")

    def where() -> tuple[Path, int]:
        module, cached = map(Path, shipped(tiny.build_here(app, home, environ), home)["where.txt"].decode().split())
        assert cached.is_file()  # compiled once, and not at each import
        return module, module.stat().st_ino

    first = where()
    (app / "tiny" / "page.html").write_text("<p>changed</p>\n")
    assert where() == first
    # A cleaner of the temporary folder may remove a part of it.
    first[0].unlink()
    (app / "tiny" / "page.html").write_text("<p>changed again</p>\n")
    if os.geteuid() == 0:
        assert where()[0] == first[0]


def test_nobody_s_files_are_written_nor_root_s_read(app, home, environ, tmp_path):
    tmp_path.chmod(0o755)
    secret = tmp_path / "secret"
    secret.write_text("of the builder")
    secret.chmod(0o600)
    script = f"""#!/bin/sh
cat {secret} > stolen.txt 2>/dev/null
echo mine > {app}/tiny/__init__.py
id > identity.txt
true
"""
    write(app, "post_compile", script if os.geteuid() == 0 else "#!/bin/sh\ntouch stolen.txt; id > identity.txt\n")
    source = (app / "tiny/__init__.py").read_bytes()
    found = shipped(tiny.build_here(app, home, environ), home)
    assert found["stolen.txt"] == b""
    users = (b"uid=1000", b"uid=65534") if os.geteuid() == 0 else f"uid={os.geteuid()}".encode()
    assert found["identity.txt"].startswith(users)
    assert b"(root)" not in found["identity.txt"]
    assert (app / "tiny/__init__.py").read_bytes() == source == found["tiny/__init__.py"]


def test_many_variables_for_a_build_come_from_a_file(app, home, environ, tmp_path):
    write(app, "post_compile", "#!/bin/sh\necho $ONE $TWO $THREE > values.txt\n")
    (tmp_path / "build.env").write_text("ONE=1\nTWO='two words'\nTHREE=3\n")

    def built() -> list[str]:
        command = ("build", app, "--env-file", tmp_path / "build.env", "--build-env", "THREE=given", "--json")
        report = deploy(*command, home=home, env=environ).report
        return [layer["digest"] for layer in report["layers"]]

    first = built()
    assert built() == first
    (tmp_path / "build.env").write_text("ONE=another\n")
    assert built() != first


def test_what_never_ships_does_not_come_from_hooks_either(app, home, environ):
    write(
        app,
        "post_compile",
        """#!/bin/sh
mkdir -p made/__pycache__ made/env/bin made/.git
touch .env made/.env.local made/.env.example made/x.pyc made/__pycache__/y
touch made/env/pyvenv.cfg made/env/bin/z made/.git/w
echo ignored > made/ignored.txt
mkfifo made/pipe
printf '#!/bin/sh\\n' > made/run; chmod 700 made/run
mkdir made/shut; echo kept > made/shut/file; chmod 0 made/shut
""",
    )
    (app / ".dockerignore").write_text("made\n")
    built = tiny.build_here(app, home, environ)
    found = shipped(built, home)
    # As in a Dockerfile's build and on Heroku, ignore files are about what goes in, not about what is made.
    assert sorted(path for path in found if path.startswith((".", "made"))) == [
        ".dockerignore",
        "made/.env.example",
        "made/ignored.txt",
        "made/run",
        "made/shut/file",
    ]
    assert built.warnings == ("made/pipe is left out: it is neither a file, a folder nor a link.",)


def test_what_deserves_a_word_is_said_each_time(app, home, environ):
    write(app, "pre_compile", "#!/bin/sh\necho '# changed' >> Procfile\necho $PWD > place.txt\n")
    expected = (
        "bin/pre_compile wrote the path of the folder in which it ran into place.txt. In the image the app is in /app.",
        (
            "bin/pre_compile changed Procfile after deploy had read it: the image gets the new file, and the build "
            "followed the old one."
        ),
    )
    assert tiny.build_here(app, home, environ).warnings == expected
    assert tiny.build_here(app, home, environ).warnings == expected


def test_hooks_run_again_only_if_something_they_are_given_changed(app, home, environ, tmp_path):
    write(app, "post_compile", "#!/bin/sh\npython -c 'import uuid; print(uuid.uuid4())' > number.txt\n")

    def number(**options: object) -> bytes:
        return shipped(tiny.build_here(app, home, environ, **options), home)["number.txt"]

    first = number()
    assert number() == first
    assert number(labels={"another": "label"}) == first
    given = number(build_env={"WITH": "this"})
    assert given not in (first, number(build_env={"WITH": "that"}))
    assert number(build_env={"WITH": "this"}) == given
    assert number(no_cache=True) != first
    (app / "tiny" / "page.html").write_text("<p>another</p>\n")
    built = tiny.build_here(app, home, environ)
    assert shipped(built, home)["number.txt"] != first
    assert built.layers[-1][1] == "tiny/page.html changed"
    again = tiny.build_here(app, home, environ, build_env={"WITH": "what was never given"})
    assert again.layers[-1][1] == "the variables for hooks changed"


def test_a_failing_hook_is_named_with_its_last_words(app, index, home):
    write(
        app,
        "pre_compile",
        "#!/bin/sh\nfor i in $(seq 30); do echo line $i; done\n"
        "printf '10%%\\r99%%\\r\\033[31mbad\\tnews\\033[0m' >&2\nexit 7\n",
    )
    done = deploy("build", app, home=home, env=tiny.environ(index))
    assert (done.code, done.out) == (10, "")
    lines = [f"  | line {number}" for number in range(1, 31)]
    said = done.err[done.err.index("Running bin/pre_compile ...") :]
    assert said.splitlines() == [
        "Running bin/pre_compile ...",
        *lines,
        "  | bad     news",
        "error: bin/pre_compile ended with exit code 7",
        "",
        "Every build runs it on a copy of the app, as on Heroku.",
        "",
        "hint: fix bin/pre_compile, or remove or rename it so that builds do not run it.",
    ]
    quiet = deploy("build", app, "-q", home=home, env=tiny.environ(index))
    assert (quiet.code, quiet.out) == (10, "")
    assert quiet.err.splitlines() == [
        "error: bin/pre_compile ended with exit code 7",
        "",
        "Every build runs it on a copy of the app, as on Heroku. Its last lines:",
        "",
        *(f"  line {number}" for number in range(12, 31)),
        "  bad     news",
        "",
        "hint: fix bin/pre_compile, or remove or rename it so that builds do not run it.",
    ]


def test_a_hook_that_is_killed_says_nothing(app, home, environ):
    write(app, "post_compile", "#!/bin/sh\nkill -SEGV $$\n")
    message = fail(app, home, environ)
    assert message.startswith("bin/post_compile was ended by the signal SIGSEGV\n\n")
    assert " It printed nothing.\n\n" in message


def test_a_hook_whose_interpreter_is_not_here(app, home, environ):
    write(app, "post_compile", "#!/usr/bin/nodejs-9 --harmony\n")
    assert fail(app, home, environ).startswith(
        "bin/post_compile cannot be started\n\n"
        "It asks for /usr/bin/nodejs-9, and the system says: No such file or directory.\n\n"
    )


def test_links_that_lead_out_are_refused(app, home, environ):
    write(app, "pre_compile", "#!/bin/sh\nln -s /etc/passwd tiny/accounts\n")
    write(app, "post_compile", "#!/bin/sh\nln -s ../../up tiny/up\n")
    assert fail(app, home, environ).startswith(
        "2 symbolic links lead out of the app\n\n"
        "bin/pre_compile and bin/post_compile left:\n\n"
        "  - tiny/accounts -> /etc/passwd\n"
        "  - tiny/up -> ../../up\n\n"
    )


def test_values_from_the_command_line_are_not_repeated(app, index, home):
    write(app, "post_compile", '#!/bin/sh\necho "token $TOKEN of $SWITCH"\nexit 1\n')
    options = ("--build-env", "TOKEN", "--build-env", "SWITCH=on")
    for quiet in ((), ("-q",)):  # while it runs, and in the error
        done = deploy(
            "build", app, *options, *quiet, home=home, env={**tiny.environ(index), "TOKEN": "hunter2-hunter2"}
        )
        assert done.code == 10
        assert done.err.count("token [redacted] of on") == 1
        assert "hunter2" not in done.err + done.out
    unset = deploy("build", app, "--build-env", "TOKEN", home=home)
    assert (unset.code, unset.err) == (
        2,
        (
            "error: the variable TOKEN is not set\n\n`--build-env TOKEN` takes its value from the environment.\n\n"
            "hint: set it, or write `--build-env TOKEN=VALUE`.\n"
        ),
    )


@pytest.fixture
def django(app: Path, index: Index, tmp_path: Path) -> Path:
    """An app that locks something called Django; `test_django` has the real one."""
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + 'django = "*"\n')
    tiny.write_lock(app, tiny.add_wheels(index, tmp_path / "wheels", "alpha", "django"))
    return app


def test_collectstatic_that_fails_is_reported_with_its_remedy(django, index, home):
    (django / "manage.py").write_text(
        'import os, sys\nprint("Found another file.", sys.argv)\nos.environ["SECRET_KEY"]\n'
    )
    of_this_machine = {**tiny.environ(index), "SECRET_KEY": "not the app's"}
    done = deploy("build", django, home=home, env=of_this_machine)
    assert done.code == 10
    assert "  | Found another file. ['manage.py', 'collectstatic', '--noinput']\n" in done.err
    assert '/app/manage.py", line 3, in <module>\n' in done.err
    assert done.err[done.err.index("error: ") :].startswith(
        "error: Django's static files could not be collected\n\n"
        "`python manage.py collectstatic --noinput` ended with exit code 1.\n\n"
        "hint: give SECRET_KEY a value for the build, with `--build-env SECRET_KEY=VALUE` or below "
    )
    given = deploy("build", django, "--build-env", "SECRET_KEY=x", "-q", home=home, env=of_this_machine)
    assert given.code == 0, given.err


def test_a_project_without_staticfiles_has_nothing_to_collect(django, index, home):
    (django / "manage.py").write_text(
        """raise SystemExit("Unknown command: 'collectstatic'\\nType 'manage.py help'.")\n"""
    )
    done = deploy("build", django, home=home, env=tiny.environ(index))
    assert done.code == 0, done.err
    assert "  | skipped: django.contrib.staticfiles is not among the installed apps\n" in done.err


def test_a_project_without_settings_says_which_variable_lacks(django, index, home):
    (django / "manage.py").write_text(
        """raise SystemExit("No Django settings specified.\\nUnknown command: 'collectstatic'")\n"""
    )
    done = deploy("build", django, home=home, env=tiny.environ(index))
    assert done.code == 0, done.err
    assert (
        "  | skipped: DJANGO_SETTINGS_MODULE is not set; set it in manage.py, or for the build with --build-env\n"
        in done.err
    )


@pytest.mark.parametrize("how", ["environment", "deploy.toml", "command line"])
def test_collectstatic_can_be_left_out(django, environ, home, how):
    (django / "manage.py").write_text("raise SystemExit('it ran')\n")
    if how == "deploy.toml":
        settings = django / "deploy.toml"
        settings.write_text(settings.read_text() + '[build.env]\nDISABLE_COLLECTSTATIC = "1"\n')
    here = {"DISABLE_COLLECTSTATIC": "1"} if how == "environment" else {}
    given = {"DISABLE_COLLECTSTATIC": "1"} if how == "command line" else {}
    tiny.build_here(django, home, {**environ, **here}, build_env=given)
    assert "it ran" in fail(django, home, environ, build_env={"DISABLE_COLLECTSTATIC": "0"})


def test_variables_that_cannot_be_are_named_with_their_line(app, home, environ):
    with (app / "deploy.toml").open("a") as settings:
        settings.write('[build.env]\nGOOD = "1"\nDEBUG = true\n')
    (app / "app.json").write_text('{\n "env": {\n  "A B": "x"\n }\n}')
    assert fail(app, home, environ) == (
        "`A B` cannot be a variable\n\napp.json:3: that is not the name of a variable.\n\n"
        'hint: it looks like `"env": {"NAME": "value"}` or `"env": {"NAME": {"value": "value"}}`.'
    )
    (app / "app.json").unlink()
    assert fail(app, home, environ) == (
        "`DEBUG` cannot be a variable\n\ndeploy.toml:5: its value is not a string.\n\n"
        'hint: it looks like `NAME = "value"`, below `[build.env]`.'
    )


def test_a_stack_whose_python_does_not_run_here(app, home, environ, tmp_path):
    base = make_base(tmp_path / "base", machine=OTHER, python="3.12.99")
    write(app, "pre_compile", "#!/bin/sh\n")
    message = fail(
        app, home, environ, stack=f"oci:{base}", platform={"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[OTHER]
    )
    what, why, hint = message.split("\n\n")
    assert what == "bin/pre_compile cannot run on this machine"
    assert why.startswith(f"It needs the Python of the stack oci:{base} (linux/")
    assert "and this machine has no Python 3.12.99" in why
    assert hint == (
        "hint: build on a machine of that platform, or one with emulation (binfmt_misc); or do without bin/pre_compile."
    )


def marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"MARK={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


WAITING = "#!/bin/sh\n{}\nsleep 600 &\necho it waits in $PWD\nsleep 600\n"


@contextmanager
def waiting(app: Path, *arguments: str, **options: Any) -> Iterator[Running]:
    """Run a build until its hook has said that it waits."""
    running = Running("build", app, *arguments, **options)
    try:
        end = time.monotonic() + 60
        while not re.search(r"it waits in \S+\n", running.err):
            assert running.process.poll() is None, running.err
            assert time.monotonic() < end, running.err
            time.sleep(0.02)
        yield running
    finally:
        running.close()


def await_gone(there: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while there():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stacked(origin: Path, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the stack, in files of its own, since tests hand copies of it over to another user."""
    home = tmp_path_factory.mktemp("stacked") / "home"
    tiny.build_here(origin, home, {**os.environ, **tiny.environ(index)})
    return home


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A temporary folder that the user of hooks gets to."""
    with tempfile.TemporaryDirectory(prefix="deploy-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.mark.parametrize("user", [None, "nobody"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_ends_the_hook_and_all_it_started_and_leaves_no_file(
    app, index, stacked, anyones, temporary, number, user
):
    """The store has no layer of the app's packages yet, so several threads are at work beside the hook."""
    write(app, "post_compile", WAITING.format("trap '' TERM; mktemp"))
    copied = Path(shutil.copytree(app, anyones / "app"))
    home = tiny.with_stack(stacked, anyones / "home")
    prefix = ()
    if user:
        if os.geteuid() != 0:
            missing("only root may become nobody")
        prefix = (*NOBODY, *ENTERING)
        for path in (copied, *copied.rglob("*"), home, *home.rglob("*")):
            shutil.chown(path, user)
    mark = uuid.uuid4().hex
    environ = {**tiny.environ(index), "TMPDIR": str(temporary), "HOME": str(anyones)}
    with waiting(copied, "--build-env", f"MARK={mark}", home=home, env=environ, prefix=prefix) as running:
        assert len(marked(mark)) >= 2
        before = running.err
        assert running.stop(number) == 128 + number
        assert running.err.removeprefix(before) == ("interrupted\n" if number == signal.SIGINT else "")
        assert marked(mark) == []
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("deploy-work-")] == []
    assert [path for folder in (home, temporary) for path in folder.rglob("*.part")] == []


def test_what_root_keeps_for_hooks_is_shown_and_pruned_unless_a_build_uses_it(app, index, stacked, temporary, tmp_path):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    shared = temporary / "deploy-work-0"
    environ = {**tiny.environ(index), "TMPDIR": str(temporary)}
    home = tiny.with_stack(stacked, tmp_path / "home")  # which the user of hooks does not reach
    other, prune = tmp_path / "another", ("cache", "prune", "--keep-storage", "0")
    write(app, "post_compile", WAITING.format("true"))
    with waiting(app, home=home, env=environ) as running:
        told = deploy("cache", "info", "--json", home=other, env=environ).report["shared"]
        assert told["folder"] == str(shared)
        assert {kind for kind, each in told["kinds"].items() if each["count"]} >= {"environments", "hook-caches"}
        done = deploy(*prune, "--json", home=other, env=environ).report["shared"]
        assert (done["freed"], done["left"], done["dropped"]) == (0, told["size"], {})
        assert done["spared"] == sum(each["count"] for each in told["kinds"].values())
        assert running.process.poll() is None
    done = deploy(*prune, "--dry-run", "--json", home=other, env=environ).report["shared"]
    assert (done["freed"], done["left"], done["spared"]) == (told["size"], 0, 0)
    text = deploy(*prune, home=other, env=environ).out
    assert re.match(rf"Freed 0 B; 0 B left\nFreed [\d.]+ [KM]B in {shared}; 0 B left\n", text)
    assert [path for path in shared.rglob("*") if not path.is_dir()] == []


def test_a_build_that_is_killed_leaves_no_copy_of_the_app(app, index, home):
    write(app, "post_compile", WAITING.format("true"))
    with waiting(app, home=home, env=tiny.environ(index)) as running:
        waits = re.search(r"it waits in (\S+)\n", running.err)
        assert waits
        running.process.kill()
        running.process.wait()
        await_gone(Path(waits[1]).parent.exists)


def test_a_build_that_is_killed_leaves_no_hook_running(app, index, home):
    mark = uuid.uuid4().hex
    write(app, "post_compile", WAITING.format("true"))
    with waiting(app, "--build-env", f"MARK={mark}", home=home, env=tiny.environ(index)) as running:
        running.process.kill()
        running.process.wait()
        await_gone(lambda: marked(mark))


def test_what_a_hook_leaves_running_is_ended(app, home, environ):
    mark = uuid.uuid4().hex
    write(app, "post_compile", "#!/bin/sh\nsleep 600 &\necho done > done.txt\n")
    built = tiny.build_here(app, home, environ, build_env={"MARK": mark})
    assert shipped(built, home)["done.txt"] == b"done\n"
    assert marked(mark) == []


def test_verify_tells_a_hook_that_makes_something_else_each_time(app, index, home):
    write(
        app,
        "post_compile",
        "#!/bin/sh\necho $GREETING > same.txt\npython -c 'import uuid; print(uuid.uuid4())' > number.txt\n",
    )
    options = ("--build-env", "GREETING=hello")
    assert deploy("build", app, *options, "-q", home=home, env=tiny.environ(index)).code == 0
    done = deploy("verify", "tiny:latest", app, *options, home=home, env=tiny.environ(index))
    assert done.code == 60
    assert "number.txt" in done.err
    assert "same.txt" not in done.err
    assert "programs of its own (bin/pre_compile, bin/post_compile, collectstatic) help to build it" in done.err
    assert "do not run it" not in done.err


@pytest.mark.registry
def test_on_an_empty_machine_hooks_run_only_for_what_changed(app, index, registry, home, tmp_path):
    write(app, "post_compile", "#!/bin/sh\npython -c 'import alpha; print(alpha.NUMBER)' > number.txt\n")
    reference = f"{registry}/hooks/tiny:1"

    def push(machine: str) -> tuple[str, str, list[str]]:
        """Build and push from a store that knows this machine's Python, and nothing else; what it fetched of wheels."""
        place = tiny.with_stack(home, tmp_path / machine)
        done = deploy("build", app, "-t", reference, "--to", "registry", home=place, env=tiny.environ(index))
        assert done.code == 0, done.err
        return done.out, done.err, sorted(path.name for path in place.glob("wheels/*/*.whl"))

    tiny.build_here(app, home, {**os.environ, **tiny.environ(index)})
    first, said, _ = push("first")
    assert "Running bin/post_compile ..." in said
    again, said, fetched = push("second")
    assert (again, fetched) == (first, [])
    assert "Running" not in said
    (app / "tiny/page.html").write_text("<p>changed</p>\n")
    changed, said, fetched = push("third")
    assert changed != first
    assert "Running bin/post_compile ..." in said
    assert fetched == ["alpha-1.0-py3-none-any.whl"]
    cold = deploy("build", app, "-t", reference, "-q", "--no-cache", home=home, env=tiny.environ(index))
    assert cold.out == changed


def test_an_app_that_is_a_package_itself_is_found_in_the_copy(app, index, home, environ):
    (app / "src" / "inner").mkdir(parents=True)
    (app / "src" / "inner" / "__init__.py").write_text("WHERE = __file__\n")
    (app / "pyproject.toml").write_text(
        '[project]\nname = "inner"\nversion = "1"\n[project.scripts]\ninner = "inner:main"\n'
    )
    with (app / "Pipfile").open("a") as pipfile:
        pipfile.write('inner = {path = ".", editable = true}\n')
    tiny.write_lock(app, {"inner": {"path": ".", "editable": True}})
    write(
        app,
        "post_compile",
        "python -c 'import inner, os; print(os.path.relpath(inner.WHERE, os.environ[\"BUILD_DIR\"]))' > where.txt\n",
    )
    assert shipped(tiny.build_here(app, home, environ), home)["where.txt"] == b"src/inner/__init__.py\n"

"""The command lines of web servers, and the app objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildpack.app.checks.image_files import list_files
from buildpack.app.checks.options import GUNICORN
from buildpack.app.checks.processes import check_processes, check_test_command
from buildpack.app.findings import Brought, Doubt, settle
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.procfile import parse_procfile
from buildpack.app.source import read_source
from buildpack.errors import Notice

PACKAGES = (
    "apache-airflow",
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "waitress",
    "flask",
    "django",
    "celery",
    "rq",
    "alembic",
    "fastapi",
    "starlette",
    "quart",
)

Check = Callable[..., tuple[list[str], list[str]]]

FACTORY = "from flask import Flask\n\n\ndef create_app():\n    return Flask(__name__)\n"
FLASK = FACTORY + "\n\nAPP = create_app()\n"
WSGI = "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n"
MANAGE = (
    "import sys\nfrom django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
)
FASTAPI = "from fastapi import FastAPI\n\napp = FastAPI()\n"


def lock(*names: str, elsewhere: str = "") -> Lock:
    packages = [LockedPackage(name=name, version="1.0", hashes=("sha256:0",)) for name in names]
    packages += [LockedPackage(name=elsewhere, git="https://example.org/x", ref="0" * 40)] if elsewhere else []
    return Lock(packages=tuple(packages), sources=())


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check the processes of an app of these files; gives what its errors and its warnings say."""

    def run(
        procfile: str,
        files: Mapping[str, str],
        *,
        locked: Lock | None = None,
        stack: str | None = None,
        brought: Brought | None = None,
        scripts: Mapping[str, str] | None = None,
        app_object: str = "",
    ):
        folder = tmp_path / "app"
        for path, content in {"Procfile": procfile, **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode())
            (folder / path).chmod(0o755 if content.startswith("#!") else 0o644)
        held = locked or lock(*PACKAGES)
        found = list(
            check_processes(
                parse_procfile(procfile).processes,
                files=list_files(read_source(folder, environ={}), held, stack=stack),
                lock=held,
                stack=stack,
                scripts=lambda: scripts or {},
                app_object=app_object,
            )
        )
        doubts = [one for one in found if isinstance(one, Doubt)]
        errors, notices = settle(doubts, brought)
        return (
            [str(one) for one in found if not isinstance(one, Notice | Doubt)] + list(map(str, errors)),
            [str(one) for one in found if isinstance(one, Notice)] + list(map(str, notices)),
        )

    return run


SOUND = {
    "flask, a package that binds APP": ("web: gunicorn blasto:APP", {"blasto/__init__.py": FLASK}),
    "flask, a module": ("web: gunicorn app:app", {"app.py": "from flask import Flask\napp = Flask(__name__)\n"}),
    "flask, a factory": ("web: gunicorn 'blasto:create_app()'", {"blasto/__init__.py": FACTORY}),
    "flask, a factory with arguments": (
        "web: gunicorn \"blasto:create_app('prod', debug=False)\"",
        {"blasto/__init__.py": FACTORY},
    ),
    "flask, wsgi.py that imports": (
        "web: gunicorn wsgi:app --workers 2 --log-file -",
        {"wsgi.py": "from blasto import create_app\napp = create_app()\n", "blasto/__init__.py": FACTORY},
    ),
    "flask, without an object": ("web: gunicorn wsgi", {"wsgi.py": "from blasto import app as application\n"}),
    "django": (
        "release: python manage.py migrate\nweb: gunicorn mysite.wsgi --log-file -",
        {"manage.py": MANAGE, "mysite/__init__.py": "", "mysite/wsgi.py": WSGI, "mysite/settings.py": ""},
    ),
    "django, in full, with celery": (
        (
            "web: gunicorn mysite.wsgi:application -w 3 -k gthread --threads=4 -t 60\n"
            "worker: celery -A mysite worker -l info\nbeat: celery -A mysite beat"
        ),
        {
            "mysite/__init__.py": "from .celery import app as celery_app\n",
            "mysite/wsgi.py": WSGI,
            "mysite/celery.py": "",
        },
    ),
    "django, a project without __init__.py": ("web: gunicorn mysite.wsgi", {"mysite/wsgi.py": WSGI}),
    "django, in a folder": (
        "web: gunicorn --chdir backend mysite.wsgi",
        {"backend/mysite/__init__.py": "", "backend/mysite/wsgi.py": WSGI},
    ),
    "django, channels": (
        "web: daphne -b 0.0.0.0 -p $PORT mysite.asgi:application",
        {"mysite/__init__.py": "", "mysite/asgi.py": "application = object()\n"},
    ),
    "fastapi": ("web: uvicorn main:app --host 0.0.0.0 --port $PORT", {"main.py": FASTAPI}),
    "fastapi, a package, behind a proxy": (
        "web: uvicorn app.main:app --host=0.0.0.0 --port=${PORT:-8000} --proxy-headers --workers 2",
        {"app/__init__.py": "", "app/main.py": FASTAPI},
    ),
    "fastapi, a factory": (
        "web: uvicorn --factory app.main:create_app --host 0.0.0.0 --port $PORT",
        {"app/__init__.py": "", "app/main.py": "def create_app(): ...\n"},
    ),
    "fastapi, gunicorn's worker": (
        "web: gunicorn app.main:app -k uvicorn.workers.UvicornWorker",
        {"app/main.py": FASTAPI},
    ),
    "fastapi, an attribute": (
        "web: uvicorn app.main:service.app --host 0.0.0.0 --port $PORT",
        {"app/main.py": "service = Service()\n"},
    ),
    "celery, an object": ("worker: celery -A blasto.tasks:queue worker", {"blasto/tasks.py": "queue = Celery()\n"}),
    "celery, an attribute": (
        "worker: celery --app=blasto.queue worker\nbeat: celery -A blasto beat",
        {"blasto/__init__.py": "queue = Celery()\n"},
    ),
    "celery, of a package": ("worker: celery -A django.something worker", {"blasto/__init__.py": ""}),
    "flask's own server, a factory": (
        "web: flask --app 'blasto:create_app()' run -h 0.0.0.0 -p $PORT",
        {"blasto/__init__.py": FACTORY},
    ),
    "flask's own server, which looks for the app": (
        "web: FLASK_APP=blasto flask run -h 0.0.0.0 -p $PORT",
        {"blasto/__init__.py": ""},
    ),
    "src layout": ("web: gunicorn --pythonpath src blasto:APP", {"src/blasto/__init__.py": FLASK}),
    "src layout, by variable": ("web: PYTHONPATH=src gunicorn blasto:APP", {"src/blasto/__init__.py": FLASK}),
    "src layout, entered": ("web: cd src && gunicorn blasto:APP", {"src/blasto/__init__.py": FLASK}),
    "src layout, uvicorn": (
        "web: uvicorn --app-dir src blasto:app --host 0.0.0.0 --port $PORT",
        {"src/blasto/__init__.py": FASTAPI},
    ),
    "monorepo": (
        "web: cd services/api && gunicorn api.wsgi:app\nworker: cd services/jobs && python -m jobs",
        {"services/api/api/__init__.py": "", "services/api/api/wsgi.py": "app = make()\n", "services/jobs/jobs.py": ""},
    ),
    "the path of a stranger": ("web: gunicorn --chdir /srv/x blasto:APP", {"blasto/__init__.py": ""}),
    "names that come about at run time": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": "globals()['APP'] = make()\n"},
    ),
    "a module's __getattr__": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": "def __getattr__(name):\n    return make(name)\n"},
    ),
    "a star import": ("web: gunicorn blasto:APP", {"blasto/__init__.py": "from flaskapp import *\n"}),
    "bound under a condition": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": "import os\nif os.environ.get('X'):\n    APP = 1\nelse:\n    APP = 2\n"},
    ),
    "bound in a try": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": "try:\n    from fast import APP\nexcept ImportError:\n    from slow import APP\n"},
    ),
    "bound by a walrus, a loop, a with": (
        "web: gunicorn m:one\nother: gunicorn m:two\nthird: gunicorn m:three",
        {"m.py": "if (one := f()): pass\nfor two in (): pass\nwith f() as (a, three): pass\n"},
    ),
    "bound by a function": ("web: gunicorn m:app", {"m.py": "def make():\n    global app\n    app = 1\n\nmake()\n"}),
    "a decorated function": ("web: gunicorn m:app", {"m.py": "@responder\ndef app(request): ...\n"}),
    "a WSGI function": ("web: gunicorn m:app", {"m.py": "def app(environ, start_response): ...\n"}),
    "a class": ("web: gunicorn m:app", {"m.py": "class app:\n    def __init__(self, environ, start): ...\n"}),
    "a module of a package": ("web: gunicorn apache_airflow.www.app:app", {"dags/one.py": ""}),
    "a module of a package that has more words": ("web: gunicorn airflow.www.app:app", {"dags/one.py": ""}),
    "syntax of a newer Python": ("web: gunicorn m:app", {"m.py": "type X = int\nnot valid Python here\n"}),
    "a module that a hook makes": ("web: gunicorn blasto.made:APP", {"blasto/__init__.py": "", "bin/post_compile": ""}),
    "a compiled module": ("web: gunicorn blasto.fast:APP", {"blasto/__init__.py": "", "blasto/fast.abi3.so": "\x7f"}),
    "settings in a file": (
        "web: gunicorn -c settings.py blasto:APP",
        {"blasto/__init__.py": FLASK, "settings.py": "import os\nbind = f\"0.0.0.0:{os.environ['PORT']}\"\n"},
    ),
    "settings that name the app": (
        "web: gunicorn",
        {"gunicorn.conf.py": 'wsgi_app = "blasto:APP"\nworkers = 2\n', "blasto/__init__.py": FLASK},
    ),
    "settings that change folder": (
        "web: gunicorn blasto:APP",
        {"gunicorn.conf.py": 'chdir = "src"\n', "src/blasto/__init__.py": FLASK, "blasto/notes.py": ""},
    ),
    "settings that are not in the folder": (
        "web: gunicorn -c /etc/gunicorn.py blasto:APP",
        {"blasto/__init__.py": FLASK},
    ),
    "a script": ("web: ./start.sh\nother: sh start.sh", {"start.sh": "#!/bin/sh\n"}),
    "a script that serves behind nginx": (
        "web: bin/start-nginx gunicorn -b unix:/tmp/s blasto:APP",
        {"bin/start-nginx": "#!/bin/sh\n"},
    ),
    "a script that is made first": ("web: ./make.sh && ./made.sh", {}),
    "a script that may be there": ("web: test -x ./made.sh && ./made.sh", {}),
    "a script that a hook makes": ("web: ./made.sh", {"bin/post_compile": ""}),
    "a script of the stack": ("web: /usr/local/bin/start.sh", {}),
    "a folder that Python runs": ("web: python ./server", {"server/__main__.py": ""}),
    "a script that is looked for elsewhere": ("web: PATH=/app:$PATH start.sh", {"start.sh": "#!/bin/sh\n"}),
    "a script that looks like an option of a shell": ("web: bash -e start.sh", {}),
    "Python with the line ends of Windows": ("web: python app.py", {"app.py": "import os\r\n"}),
    "$PORT, and then a port of its own": (
        "web: gunicorn -b 0.0.0.0:$PORT -b 127.0.0.1:9000 m:app",
        {"m.py": "app = 1\n"},
    ),
    "flask's own server": ("web: flask run --host 0.0.0.0 --port $PORT", {"app.py": "app = 1\n"}),
    "flask's own server, by variables": (
        "web: FLASK_RUN_HOST=0.0.0.0 FLASK_RUN_PORT=$PORT flask run",
        {"app.py": "app = 1\n"},
    ),
    "django's own server": ("web: python manage.py runserver 0.0.0.0:$PORT", {"manage.py": MANAGE}),
    "files": ("web: python -m http.server ${PORT:-8000}", {}),
    "a file that minds PORT": (
        "web: python app.py",
        {"app.py": "import os\nfrom flask import Flask\napp = Flask('a')\napp.run(port=int(os.environ['PORT']))\n"},
    ),
    "a file that asks something else for it": (
        "web: python app.py",
        {"app.py": "from flask import Flask\nfrom conf import conf\napp = Flask('a')\napp.run(port=conf.port)\n"},
    ),
    "a file that runs nothing of the web": (
        "web: python app.py",
        {"app.py": "import subprocess\nsubprocess.run('x')\n"},
    ),
    "a bot": ("worker: python bot.py", {"bot.py": "from flask import Flask\napp = Flask('a')\napp.run()\n"}),
    "waitress": ("web: waitress-serve --port=$PORT --call blasto:create_app", {"blasto/__init__.py": FACTORY}),
    "hypercorn": ("web: hypercorn app:app --bind 0.0.0.0:$PORT", {"app.py": FASTAPI}),
    "an option of tomorrow": ("web: gunicorn --tomorrow x blasto:NONE", {"blasto/__init__.py": ""}),
    "a factory for an asgi worker": (
        "web: gunicorn -k uvicorn.workers.UvicornWorker blasto:create_app",
        {"blasto/__init__.py": FACTORY},
    ),
}


@pytest.mark.parametrize("shape", SOUND)
def test_nothing_is_said_of_apps_that_work(check: Check, shape: str) -> None:
    assert check(*SOUND[shape]) == ([], [])


WRONG = {
    "an object that is not bound": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": "", "blasto/app.py": FACTORY},
        (
            "blasto/__init__.py does not bind `APP`\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:APP`. blasto/__init__.py binds nothing.\n\n"
            "hint: bind `APP` in blasto/__init__.py."
        ),
    ),
    "a factory alone": (
        "web: gunicorn blasto:APP",
        {"blasto/__init__.py": FACTORY},
        (
            "blasto/__init__.py does not bind `APP`\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:APP`. blasto/__init__.py binds `Flask`, `create_app`.\n\n"
            "hint: bind `APP` in blasto/__init__.py, for example `APP = create_app()`, or write "
            "`'blasto:create_app()'` in "
            "the Procfile."
        ),
    ),
    "another spelling": (
        "# comment\nweb: gunicorn blasto:APP",
        {"blasto/__init__.py": FLASK.replace("APP =", "app =")},
        (
            "blasto/__init__.py does not bind `APP`\n\n"
            "Procfile:2: `web` has gunicorn serve `blasto:APP`. blasto/__init__.py binds `Flask`, `create_app`, "
            "`app`.\n\n"
            "hint: write `blasto:app` in the Procfile, if that is what is meant, or bind `APP` in blasto/__init__.py."
        ),
    ),
    "no object named, and no `application`": (
        "web: gunicorn wsgi",
        {"wsgi.py": "server = make()\n"},
        (
            "wsgi.py does not bind `application`\n\n"
            "Procfile:1: `web` has gunicorn serve `wsgi`. wsgi.py binds `server`.\n\n"
            "hint: bind `application` in wsgi.py."
        ),
    ),
    "bound only in a script": (
        "web: gunicorn app:app",
        {"app.py": 'def make(): ...\n\nif __name__ == "__main__":\n    app = make()\n    app.run()\n'},
        (
            '`app` is bound only under `if __name__ == "__main__":`\n\n'
            "Procfile:1: `web` has gunicorn serve `app:app`; a server imports the module, and then that part of "
            "it does "
            "not "
            "run (app.py:4).\n\n"
            "hint: bind `app` above that `if`, and leave only the call of `app.run()` below it."
        ),
    ),
    "a module in the object's place": (
        "web: gunicorn blasto:app",
        {"blasto/__init__.py": "from .app import create_app\n", "blasto/app.py": FACTORY},
        (
            "`blasto:app` is a module, not an app object\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:app`. That is the module blasto.app; "
            "blasto/__init__.py binds "
            "`create_app`.\n\n"
            "hint: name an object in it, for example `blasto.app:app`, or bind one in blasto/__init__.py."
        ),
    ),
    "a module in the object's place, which is there in capitals": (
        "web: gunicorn blasto:app",
        {"blasto/__init__.py": "from .app import create_app\n\nAPP = create_app()\n", "blasto/app.py": FACTORY},
        (
            "`blasto:app` is a module, not an app object\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:app`. That is the module blasto.app; "
            "blasto/__init__.py binds `create_app`, `APP`.\n\n"
            "hint: did you mean `blasto:APP`?"
        ),
    ),
    "a factory that is not called": (
        "web: gunicorn blasto:create_app",
        {"blasto/__init__.py": FACTORY},
        (
            "`create_app` is a factory, and nothing calls it\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:create_app`. blasto/__init__.py:4 defines it with fewer "
            "arguments "
            "than a WSGI app has, so each request fails.\n\n"
            "hint: write `'blasto:create_app()'` in the Procfile, with the quotes."
        ),
    ),
    "a module misspelt": (
        "web: gunicorn balsto:APP",
        {"blasto/__init__.py": FLASK},
        (
            "there is no module `balsto`\n\n"
            "Procfile:1: `web` has gunicorn serve `balsto:APP`. Neither the app nor a package of "
            "Pipfile.lock has it.\n\n"
            "hint: did you mean `blasto:APP`?"
        ),
    ),
    "a module that its package lacks": (
        "web: gunicorn mysite.wsgi",
        {"mysite/__init__.py": "", "mysite/settings.py": ""},
        (
            "there is no module mysite/wsgi.py\n\n"
            "Procfile:1: `web` has gunicorn serve `mysite.wsgi`. There is neither mysite/wsgi.py nor a package "
            "mysite/wsgi/.\n\n"
            "hint: name a module that exists, or add it."
        ),
    ),
    "in the folder that is named": (
        "web: gunicorn --chdir src blasto:APP",
        {"blasto/__init__.py": FLASK, "src/blasto/__init__.py": ""},
        (
            "src/blasto/__init__.py does not bind `APP`\n\n"
            "Procfile:1: `web` has gunicorn serve `blasto:APP`. src/blasto/__init__.py binds nothing.\n\n"
            "hint: bind `APP` in src/blasto/__init__.py."
        ),
    ),
    "celery": (
        "worker: celery -A blasto.task worker",
        {"blasto/__init__.py": "", "blasto/tasks.py": ""},
        (
            "there is no module blasto/task.py\n\n"
            "Procfile:1: `worker` has celery run `blasto.task`. There is neither blasto/task.py nor a package "
            "blasto/task/.\n\n"
            "hint: name a module that exists, or add it."
        ),
    ),
    "flask's own server": (
        "web: flask --app blasto:make run -h 0.0.0.0 -p $PORT",
        {"blasto/__init__.py": FACTORY},
        (
            "blasto/__init__.py does not bind `make`\n\n"
            "Procfile:1: `web` has flask serve `blasto:make`. blasto/__init__.py binds `Flask`, `create_app`.\n\n"
            "hint: bind `make` in blasto/__init__.py, for example `make = create_app()`, or write "
            "`'blasto:create_app()'` in the Procfile."
        ),
    ),
    "uvicorn": (
        "web: uvicorn main:api --host 0.0.0.0 --port $PORT",
        {"main.py": FASTAPI},
        (
            "main.py does not bind `api`\n\n"
            "Procfile:1: `web` has uvicorn serve `main:api`. main.py binds `FastAPI`, `app`.\n\n"
            "hint: write `main:app` in the Procfile, if that is what is meant, or bind `api` in main.py."
        ),
    ),
}


@pytest.mark.parametrize("situation", WRONG)
def test_an_app_object_that_is_not_there(check: Check, situation: str) -> None:
    procfile, files, message = WRONG[situation]
    assert check(procfile, files) == ([message], [])


@pytest.mark.parametrize(
    ("command", "wanted_message"),
    [
        ("gunicorn m:make()", "from `m:make()` on; write `'m:make()'`, with the quotes."),
        ("gunicorn 'm:app", "from `'m:app` on; end the quotes there."),
    ],
)
def test_a_command_that_no_shell_can_read_is_the_only_finding(check: Check, command: str, wanted_message: str) -> None:
    said = f"Procfile:1: no shell can read the command of `web`, {wanted_message}"
    assert check(f"web: {command}", {"m.py": "app = 1\n"}) == ([], [said])


PORT = {
    "gunicorn -b 0.0.0.0:8000 m:app": (
        "does not listen on $PORT (-b 0.0.0.0:8000); leave it out, and gunicorn listens on $PORT by itself."
    ),
    "gunicorn --bind=unix:/tmp/socket m:app": (
        "does not listen on $PORT (-b unix:/tmp/socket); leave it out, and gunicorn listens on $PORT by itself."
    ),
    "gunicorn -b 127.0.0.1:$PORT m:app": (
        "listens on the container's own loopback address only (-b 127.0.0.1:$PORT); leave it out, and gunicorn "
        "listens on "
        "$PORT by itself."
    ),
    "GUNICORN_CMD_ARGS='-b :9000' gunicorn m:app": (
        "does not listen on $PORT (-b :9000); leave it out, and gunicorn listens on $PORT by itself."
    ),
    "uvicorn m:app": ("does not listen on $PORT (without --port: port 8000); write `--host 0.0.0.0 --port $PORT`."),
    "uvicorn m:app --host 0.0.0.0 --port 80": (
        "does not listen on $PORT (port 80); write `--host 0.0.0.0 --port $PORT`."
    ),
    "uvicorn m:app --port $PORT": (
        "listens on the container's own loopback address only (host 127.0.0.1); write `--host 0.0.0.0 --port $PORT`."
    ),
    "hypercorn m:app": "does not listen on $PORT (without --bind: port 8000); write `--bind 0.0.0.0:$PORT`.",
    "daphne m:app": "does not listen on $PORT (without --port: port 8000); write `-b 0.0.0.0 -p $PORT`.",
    "waitress-serve m:app": "does not listen on $PORT (without --port: port 8080); write `--port=$PORT`.",
    "flask run": (
        "does not listen on $PORT (without --port: port 5000); write `flask run --host 0.0.0.0 --port $PORT`."
    ),
    "python -m flask --app m run -p 80": (
        "does not listen on $PORT (port 80); write `flask run --host 0.0.0.0 --port $PORT`."
    ),
    "python -m http.server": (
        "does not listen on $PORT (http.server: port 8000); write `python -m http.server $PORT`."
    ),
    "python3 -m http.server --bind 0.0.0.0 9000": (
        "does not listen on $PORT (http.server: port 9000); write `python -m http.server $PORT`."
    ),
    "python manage.py runserver": (
        "does not listen on $PORT (runserver: 127.0.0.1:8000); write `runserver 0.0.0.0:$PORT`, or better "
        "`gunicorn` with "
        "the project's wsgi module."
    ),
    "python manage.py runserver $PORT": (
        "listens on the container's own loopback address only (runserver $PORT); write `runserver 0.0.0.0:$PORT`, or "
        "better `gunicorn` with the project's wsgi module."
    ),
    "python manage.py migrate && python manage.py runserver 0.0.0.0:80 --noreload": (
        "does not listen on $PORT (runserver 0.0.0.0:80); write `runserver 0.0.0.0:$PORT`, or better `gunicorn` with "
        "the project's wsgi module."
    ),
    "python served.py": (
        'does not listen on $PORT (served.py:3: port 5000); write `port=int(os.environ["PORT"])` and `host="0.0.0.0"` '
        "there."
    ),
    "python waits.py": (
        'does not listen on $PORT (waits.py:2: port 8080); write `port=int(os.environ["PORT"])` and `host="0.0.0.0"` '
        "there."
    ),
    "python fast.py": (
        'does not listen on $PORT (fast.py:4: port 8080); write `port=int(os.environ["PORT"])` and `host="0.0.0.0"` '
        "there."
    ),
}
SERVERS = {
    "manage.py": MANAGE,
    "waits.py": "from waitress import serve\nserve(object())\n",
    "m.py": "app = make()\n",
    "served.py": "from flask import Flask\napp = Flask(__name__)\napp.run(debug=False)\n",
    "fast.py": "import uvicorn\nfrom fastapi import FastAPI\napp = FastAPI()\nuvicorn.run(app, host='0.0.0.0', "
    "port=8080)\n",
}


@pytest.mark.parametrize("command", PORT)
def test_a_web_process_that_ignores_the_port(check: Check, command: str) -> None:
    assert check(f"web: {command}", SERVERS) == ([], [f"Procfile:1: `web` {PORT[command]}"])
    assert check(f"admin: {command}", SERVERS) == ([], []), "only web is given a port to mind"


def test_a_port_in_gunicorns_settings(check: Check) -> None:
    files = {**SERVERS, "gunicorn.conf.py": "workers = 2\nbind = ['0.0.0.0:8000', 'unix:/tmp/s']\n"}
    wanted_message = (
        "Procfile:1: `web` does not listen on $PORT (gunicorn.conf.py:2); leave it out, and gunicorn listens on "
        "$PORT by "
        "itself."
    )
    assert check("web: gunicorn m:app", files) == ([], [wanted_message])
    assert check("web: gunicorn -b :$PORT m:app", files) == ([], []), "the command line wins"


class TestPackages:
    def test_a_program_whose_package_is_not_locked(self, check: Check) -> None:
        errors, warnings = check("web: gunicorn m:app\nworker: python -m celery worker", SERVERS, locked=lock("flask"))
        assert errors == [
            f"{name} is not in Pipfile.lock\n\nProcfile:{line}: `{process}` runs {name}, which Pipfile.lock does "
            f"not have."
            f"\n\nhint: run `deploy add {name}`, and commit Pipfile and Pipfile.lock."
            for line, process, name in ((1, "web", "gunicorn"), (2, "worker", "celery"))
        ]
        assert warnings == []

    def test_one_that_only_another_category_has(self, check: Check) -> None:
        held = Lock(packages=(), develop=lock("gunicorn").packages, sources=())
        [error], _ = check("web: gunicorn m:app", SERVERS, locked=held)
        assert error == (
            "gunicorn is not in Pipfile.lock\n\n"
            "Procfile:1: `web` runs gunicorn, which Pipfile.lock does not have. Its category `develop` does, and is "
            "not "
            "installed.\n\n"
            "hint: build with `--category develop`, or move gunicorn to [packages] in Pipfile and lock again."
        )

    def test_a_stack_of_ones_own_may_have_it(self, check: Check) -> None:
        held = lock("flask")
        assert check("web: gunicorn m:app", SERVERS, locked=held, stack="ghcr.io/me/base:1") == (
            [],
            [
                (
                    "Procfile:1: `web` runs gunicorn, which Pipfile.lock does not have; it has to be in the stack "
                    "ghcr.io/me/base:1."
                )
            ],
        )
        for stack in ("host", "python:3.12-slim"):
            errors, _ = check("web: gunicorn m:app", SERVERS, locked=held, stack=stack)
            assert [error.partition("\n")[0] for error in errors] == ["gunicorn is not in Pipfile.lock"]

    def test_modules_that_packages_may_bring(self, check: Check) -> None:
        files = {"blastoff/__init__.py": "", "m.py": ""}
        assert check("web: gunicorn blasto:APP", files, locked=lock("gunicorn", "flask-blasto")) == ([], [])
        assert check("web: gunicorn blasto:APP", files, locked=lock("gunicorn", elsewhere="x")) == ([], [])
        assert len(check("web: gunicorn blasto:APP", files)[0]) == 1


def test_a_module_that_is_left_out_of_the_image(check: Check) -> None:
    files = {"blasto/__init__.py": "", "blasto/wsgi.py": FLASK, ".dockerignore": "blasto/wsgi.py\n"}
    assert check("web: gunicorn blasto.wsgi:APP", files) == (
        [],
        [
            (
                "Procfile:1: `web` has gunicorn serve `blasto.wsgi:APP` of blasto/wsgi.py, which the image leaves "
                "out: git "
                "ignores it, or .dockerignore or .slugignore names it; write `!blasto/wsgi.py` at the end of "
                ".dockerignore, or of the file that names it."
            )
        ],
    )


def test_two_processes_with_one_fault_give_one_finding(check: Check) -> None:
    errors, _ = check("web: gunicorn m:none\nadmin: gunicorn m:none", {"m.py": ""})
    assert [error.splitlines()[2].partition(":")[2][:10] for error in errors] == ["1: `web` h", "2: `admin`"]


def test_options_take_values_where_gunicorn_says_so() -> None:
    """Of its installed version, of which ours need not know the newest options."""
    from gunicorn.config import KNOWN_SETTINGS

    seen = 0
    for setting in KNOWN_SETTINGS:
        for written in setting.cli or ():
            name = written if written.startswith("--") else GUNICORN.short.get(written, "")
            if name in GUNICORN.flags | GUNICORN.values:
                seen += 1
                takes_none = setting.action in ("store_true", "store_false", "store_const")
                assert (name in GUNICORN.flags) is takes_none, written
    assert seen > 60


STARTED = {
    "web: ./start.sh": ([], ["Procfile:1: `web` starts start.sh, which does not exist; add it, or fix the Procfile."]),
    "release: python manage.py migrate": (
        [],
        ["Procfile:1: `release` starts manage.py, which does not exist; add it, or fix the Procfile."],
    ),
    "web: cd src && sh ../bin/start.sh": (
        [],
        ["Procfile:1: `web` starts bin/start.sh, which does not exist; add it, or fix the Procfile."],
    ),
    "web: ./ignored.sh": (
        [],
        [
            (
                "Procfile:1: `web` starts ignored.sh, which the image leaves out: git ignores it, or .dockerignore "
                "or .slugignore names it; write `!ignored.sh` at the end of .dockerignore, or of the file that names "
                "it."
            )
        ],
    ),
    "web: ./plain.sh": (
        [
            (
                "plain.sh may not be executed\n\nProcfile:1: `web` starts it, and its mode has no x.\n\n"
                "hint: run `chmod +x plain.sh` (git on Windows: `git update-index --chmod=+x plain.sh`)."
            )
        ],
        [],
    ),
    "web: windows.sh": (
        [
            (
                "`windows.sh` is not among the programs\n\n"
                "Procfile:1: `web` starts it without its folder, and a shell then "
                "searches PATH only.\n\nhint: write `./windows.sh`."
            )
        ],
        [],
    ),
    "web: ./windows.sh": (
        [
            (
                "the lines of windows.sh end as on Windows\n\n"
                "Procfile:1: `web` starts it, and the system takes the carriage return at the end of its first line "
                "for a part of a name.\n\n"
                "hint: write it with Unix line ends; `windows.sh text eol=lf` in .gitattributes has git keep them."
            )
        ],
        [],
    ),
    "web: gunicorn main:app": (
        [],
        [
            (
                "Procfile:1: the app has no module `main`, which `web` has gunicorn serve: no package of Pipfile.lock "
                "has that name either; did you mean `server:app`?"
            )
        ],
    ),
    "web: gunicorn --chdir nowhere application:nothing": (
        [],
        [
            (
                "Procfile:1: the app has no module `application`, which `web` has gunicorn serve: no package of "
                "Pipfile.lock has that name either; name a module that exists, or add it."
            )
        ],
    ),
}


@pytest.mark.parametrize("procfile", STARTED)
def test_files_that_cannot_be_started(check: Check, procfile: str) -> None:
    files = {
        ".dockerignore": "ignored.sh\n",
        "ignored.sh": "#!/bin/sh\n",
        "plain.sh": "exec sleep 9\n",
        "windows.sh": "#!/bin/sh\r\n",
        "server.py": "app = 1\n",
    }
    assert check(procfile, files) == STARTED[procfile]
    assert check(procfile, {**files, "bin/pre_compile": ""})[1] == [], "a hook may make it"


def test_a_stack_may_bring_modules(check: Check) -> None:
    assert check("web: gunicorn main:app", {"server.py": "app = 1\n"}, stack="ghcr.io/me/base:1") == ([], [])


SERVE = "gunicorn blasto:APP -k gthread"


class TestPrograms:
    """The first word of a command, and what it wraps, is a script of a package or a program of the stack."""

    LOCK = lock("flask", "gunicorn")

    @pytest.mark.parametrize(
        ("command", "program", "hint"),
        [
            ("gunicron blasto:APP", "gunicron", "did you mean `gunicorn`?"),
            ("env A=1 gunicron blasto:APP", "gunicron", "did you mean `gunicorn`?"),
            ("env -i gunicron blasto:APP", "gunicron", "did you mean `gunicorn`?"),
            ("timeout 5 gunicron blasto:APP", "gunicron", "did you mean `gunicorn`?"),
            ("nice -n 5 gunicron blasto:APP", "gunicron", "did you mean `gunicorn`?"),
            ("bash -exc 'gunicron blasto:APP'", "gunicron", "did you mean `gunicorn`?"),
            ("cd web && npm start", "npm", None),
            ("exec nginx -g 'daemon off;'", "nginx", None),
            ("git pull && python app.py", "git", None),
        ],
    )
    def test_a_program_that_nothing_provides(self, check: Check, command: str, program: str, hint: str | None) -> None:
        files = {"blasto/__init__.py": FLASK, "app.py": ""}
        errors, notices = check(f"worker: {command}\n", files, locked=self.LOCK)
        hint = hint or f"use another program, or make a base image that has {program} and name it with `stack`."
        assert (errors, notices) == (
            [],
            [f"Procfile:1: `worker` runs {program}, which neither Pipfile.lock nor the stack provides; {hint}"],
        )

    @pytest.mark.parametrize(
        "command",
        [
            "python app.py",
            "bash -c 'sleep 1'",
            "find . -name x | xargs echo",
            "command -v npm && npm start",
            "npm start || python app.py",
            "PATH=/app/node/bin:$PATH npm start",
            "$RUNNER app.py",
            "export A=1; time python app.py",
            "flask-thing run",
            "some-program-that-a-wheel-may-bring",
        ],
    )
    def test_programs_of_which_nothing_is_said(self, check: Check, command: str) -> None:
        assert check(f"worker: {command}\n", {"app.py": ""}, locked=self.LOCK) == ([], [])

    def test_a_base_image_of_one_s_own_may_have_anything(self, check: Check) -> None:
        procfile = "worker: npm start\nother: gunicron\n"
        assert check(procfile, {}, locked=self.LOCK, stack="ghcr.io/me/base") == ([], [])
        assert check("worker: git pull\n", {}, locked=self.LOCK, stack="python:3.12") == ([], [])
        assert len(check("worker: npm start\n", {}, locked=self.LOCK, stack="python:3.12")[1]) == 1

    def test_the_wheels_tell_which_scripts_there_are(self, check: Check) -> None:
        brought = Brought(modules=frozenset({"flask"}), programs=frozenset({"gunicorn", "flask"}))
        procfile = "web: gunicorn-web\nworker: work-hard\n"
        assert check(procfile, {}, locked=self.LOCK) == ([], [])
        assert len(check(procfile, {}, locked=self.LOCK, brought=brought)[1]) == 2
        brought = Brought(modules=frozenset(), programs=frozenset({"gunicorn-web", "work-hard"}))
        assert check(procfile, {}, locked=self.LOCK, brought=brought) == ([], [])

    @pytest.mark.parametrize(
        ("wrapper", "package"),
        [
            ("newrelic-admin run-program", "newrelic"),
            ("opentelemetry-instrument --traces_exporter console", "opentelemetry-instrumentation"),
            ("ddtrace-run", "ddtrace"),
        ],
    )
    def test_a_wrapper_has_to_be_locked_and_what_it_starts_too(self, check: Check, wrapper: str, package: str) -> None:
        procfile = f"worker: {wrapper} gunicorn blasto:APPP\n"
        files = {"blasto/__init__.py": FLASK}
        errors, _ = check(procfile, files, locked=self.LOCK)
        assert [error.partition("\n")[0] for error in errors] == [
            f"{package} is not in Pipfile.lock",
            "blasto/__init__.py does not bind `APPP`",
        ]
        errors, _ = check(procfile, files, locked=lock("flask", "gunicorn", package))
        assert [error.partition("\n")[0] for error in errors] == ["blasto/__init__.py does not bind `APPP`"]

    @pytest.mark.parametrize(
        ("command", "written"),
        [
            ("pipenv run gunicorn blasto:APP", "gunicorn blasto:APP"),
            ("pipenv install && pipenv run gunicorn blasto:APP", "gunicorn blasto:APP"),
            ("python -m pipenv run gunicorn blasto:APP", "gunicorn blasto:APP"),
            ("PIPENV_QUIET=1 pipenv sync; pipenv run serve && pipenv run serve", SERVE + " && " + SERVE),
            ("cd src && uv sync --frozen && uv run --no-sync gunicorn blasto:APP", "cd src && gunicorn blasto:APP"),
            ("cd src && pipenv run serve --workers 2", "cd src && gunicorn blasto:APP -k gthread --workers 2"),
            ("exec poetry run gunicorn blasto:APP", "exec gunicorn blasto:APP"),
            ("A=1 uv run gunicorn blasto:APP", "A=1 gunicorn blasto:APP"),
        ],
    )
    def test_the_line_to_write_instead_of_pipenv_run(self, check: Check, command: str, written: str) -> None:
        files = {"blasto/__init__.py": FLASK, "src/blasto/__init__.py": FLASK}
        scripts = {"serve": SERVE}
        [error], [] = check(f"web: {command}\n", files, locked=self.LOCK, scripts=scripts)
        [tool] = {"pipenv", "poetry", "uv"} & {*command.split()}
        named = f"{tool} {command.partition(f'{tool} ')[2].split()[0].rstrip(';')}"
        assert error.startswith(f"`{named}` does not work in the image\n\n")
        assert error.endswith(f"hint: write `web: {written}` in the Procfile.")
        with_pipenv = lock("flask", "gunicorn", "pipenv", "poetry", "uv")
        assert check(f"web: {command}\n", files, locked=with_pipenv, scripts=scripts) == ([], [])

    @pytest.mark.parametrize("command", ["pipenv shell", "poetry shell", "uv sync"])
    def test_a_tool_that_runs_no_program_of_the_app(self, check: Check, command: str) -> None:
        [error], [] = check(f"web: {command}\n", {}, locked=self.LOCK)
        tool = command.partition(" ")[0]
        assert error == (
            f"`{command}` does not work in the image\n\n"
            f"Procfile:1: `web` starts {tool}, which Pipfile.lock does not have. The image needs no {tool}: its "
            "environment is active already.\n\n"
            f"hint: write a command without {tool} in the Procfile, for example `web: python app.py`."
        )

    @pytest.mark.parametrize("command", ["echo uv sync is not needed", "mypipenv run x", "pipenv-run x"])
    def test_words_that_start_no_tool(self, check: Check, command: str) -> None:
        assert check(f"web: {command}\n", {}, locked=self.LOCK)[0] == []

    def test_what_pipenv_s_script_starts_is_checked_too(self, check: Check) -> None:
        errors, _ = check("web: pipenv run serve\n", {}, locked=self.LOCK, scripts={"serve": "gunicorn nowhere:APP"})
        assert [error.partition("\n")[0] for error in errors] == [
            "`pipenv run` does not work in the image",
            "there is no module `nowhere`",
        ]


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("gunicorn site1/wsgi.py", "site1.wsgi"),
        ("gunicorn ./site1/wsgi.py:application", "site1.wsgi:application"),
        ("uvicorn main.py:app --port $PORT --host 0.0.0.0", "main:app"),
        ("gunicorn main.py", "main"),
        ("celery -A main.py worker", "main"),
    ],
)
def test_a_target_that_is_a_file(check: Check, command: str, written: str) -> None:
    files = {"site1/wsgi.py": WSGI, "main.py": FASTAPI}
    [error], [] = check(f"web: {command}\n", files)
    assert error.startswith(f"`{next(word for word in command.split() if '.py' in word)}` names a file, not a module\n")
    assert error.endswith(f"hint: write `{written}` in the Procfile.")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("python -m blast", "there is no module `blast`"),
        ("python -m blasto.wrok", "there is no module blasto/wrok.py"),
        ("gunicorn nowhere:app", "there is no module `nowhere`"),
        ("uvicorn --factory nowhere.app:make --host 0.0.0.0 --port $PORT", "there is no module `nowhere`"),
    ],
)
def test_a_module_that_neither_the_app_nor_a_package_has(check: Check, command: str, error: str) -> None:
    files = {"blasto/__init__.py": FLASK}
    known = lock("flask", "gunicorn", "uvicorn")
    [found], [] = check(f"web: {command}\n", files, locked=known)
    assert found.partition("\n")[0] == error
    assert check(f"web: {command}\n", {**files, "bin/pre_compile": "#!/bin/sh\n"}, locked=known) == ([], [])


@pytest.mark.parametrize("command", ["python -m blasto", "python -m http.server $PORT", "python -m flask --version"])
def test_modules_that_python_can_run(check: Check, command: str) -> None:
    assert check(f"web: {command}\n", {"blasto/__init__.py": FLASK}, locked=lock("flask")) == ([], [])


IMPORTED = {
    "flask --app nowhere run -h 0.0.0.0 -p $PORT": "there is no module `nowhere`",
    "FLASK_APP=nowhere flask run -h 0.0.0.0 -p $PORT": "there is no module `nowhere`",
    "python -m flask --app shop/wsgi run -h 0.0.0.0 -p $PORT": "there is no module shop/wsgi.py",
    "flask --app ./shop/wsgi.py:app run -h 0.0.0.0 -p $PORT": "there is no module shop/wsgi.py",
    "flask --app nowhere db upgrade": "there is no module `nowhere`",
    "cd shop && flask run -h 0.0.0.0 -p $PORT": "there is no module shop/named.py",
    "granian --interface wsgi nowhere:app --host 0.0.0.0 --port $PORT": "there is no module `nowhere`",
    "granian --interface wsgi shop.jobs:app --host 0.0.0.0 --port $PORT": "shop/jobs.py does not bind `app`",
    "dramatiq nowhere": "there is no module `nowhere`",
    "dramatiq -p 2 shop.jobs:broken -Q fast slow": "shop/jobs.py does not bind `broken`",
    "dramatiq shop.jobs shop.more --threads 2": "there is no module shop/more.py",
    "arq nowhere.WorkerSettings": "there is no module `nowhere`",
    "arq shop.jobs.Setings --burst": "shop/jobs.py does not bind `Setings`",
    "huey_consumer.py nowhere.huey -w 4": "there is no module `nowhere`",
    "python -m huey.bin.huey_consumer shop.jobs.hueyy": "shop/jobs.py does not bind `hueyy`",
    "rq worker -c nowhere high low": "there is no module `nowhere`",
    "rq worker --url $REDIS_URL --worker-class shop.none.Worker high": "there is no module shop/none.py",
    "gunicorn -c nowhere.py shop:app": "there is no file nowhere.py",
    "gunicorn -c python:nowhere shop:app": "there is no module `nowhere`",
    "GUNICORN_CMD_ARGS='-c conf/none.py' gunicorn shop:app": "there is no file conf/none.py",
    "cd shop && gunicorn --config none.py --chdir .. shop:app": "there is no file shop/none.py",
    "gunicorn --log-config log.ini shop:app": "there is no file log.ini",
    "uvicorn shop:app --log-config log.yml --host 0.0.0.0 --port $PORT": "there is no file log.yml",
    "hypercorn -c python:shop.settings.Production shop:app -b 0.0.0.0:$PORT": "there is no module shop/settings.py",
    "hypercorn -c none.toml shop:app -b 0.0.0.0:$PORT": "there is no file none.toml",
}
SHOP = {
    "shop/__init__.py": "app = make()\n",
    "shop/.flaskenv": "# the app\nexport FLASK_APP='named.py'  # in this folder\n",
    "shop/jobs.py": "broker = huey = make()\n\n\nclass Settings:\n    pass\n",
}
HELD = lock("flask", "gunicorn", "uvicorn", "hypercorn", "granian", "dramatiq", "arq", "huey", "rq", "flask-migrate")


@pytest.mark.parametrize("command", IMPORTED)
def test_the_modules_and_files_that_a_servers_options_name_have_to_be_there(check: Check, command: str) -> None:
    [error], notices = check(f"web: {command}", SHOP, locked=HELD)
    assert (error.partition("\n")[0], notices) == (IMPORTED[command], [])
    assert check(f"web: {command}", {**SHOP, "bin/post_compile": ""}, locked=HELD)[0] == (
        [] if "there is no" in IMPORTED[command] else [error]
    ), "a hook may make a module or a file"


@pytest.mark.parametrize(
    "command",
    [
        "flask --app shop run -h 0.0.0.0 -p $PORT",
        "flask --app shop/jobs.py:broker run -h 0.0.0.0 -p $PORT",
        "cd other && flask --app ../shop/__init__.py:app run -h 0.0.0.0 -p $PORT",
        "FLASK_APP=$MODULE flask run -h 0.0.0.0 -p $PORT",
        "flask db upgrade",
        "granian --interface wsgi shop --host 0.0.0.0 --port $PORT",
        "granian --interface wsgi shop/jobs.py:huey --host 0.0.0.0 --port $PORT",
        "dramatiq shop.jobs:broker shop -Q nowhere nothing",
        "dramatiq nowhere -P other",
        "arq shop.jobs.Settings",
        "huey_consumer shop.jobs.huey -k process",
        "rq worker -c shop.jobs -w shop.jobs.Settings high",
        "rq info -c nowhere",
        "gunicorn -c python:shop.jobs shop:app",
        "gunicorn -c conf/gunicorn.py shop:app",
        "gunicorn -c /etc/gunicorn.py shop:app",
        "python render.py && gunicorn -c made.py shop:app",
        "hypercorn -c file:conf/gunicorn.py shop:app -b 0.0.0.0:$PORT",
    ],
)
def test_what_a_server_finds(check: Check, command: str) -> None:
    files = {**SHOP, "conf/gunicorn.py": "workers = 2\n", "render.py": "", "other/x.txt": ""}
    assert check(f"web: {command}", files, locked=HELD) == ([], [])


def test_a_configuration_that_the_image_leaves_out(check: Check) -> None:
    files = {**SHOP, "conf/g.py": "workers = 2\n", ".dockerignore": "conf\n"}
    assert check("web: gunicorn -c conf/g.py shop:app", files) == (
        [],
        [
            (
                "Procfile:1: `web` has gunicorn read conf/g.py (`--config conf/g.py`), which the image leaves out: git "
                "ignores it, or .dockerignore or .slugignore names it; write `!conf/g.py` at the end of "
                ".dockerignore, or of the file that names it."
            )
        ],
    )


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("flask --app shop run -h 0.0.0.0 -p $PORT", "shop.py"),
        ("flask run -h 0.0.0.0 -p $PORT", "app.py"),
        ("flask db upgrade", "served.py"),
        ("granian shop:app --host 0.0.0.0 --port $PORT", "shop.py"),
        ("dramatiq app shop", "shop.py"),
        ("arq shop.app", "shop.py"),
        ("gunicorn -c python:shop app:app", "shop.py"),
    ],
)
def test_the_imports_of_what_a_server_loads(check: Check, command: str, path: str) -> None:
    files = {"app.py": "app = 1\n", path: "import requests\napp = 1\n"}
    served = "served:app" if path == "served.py" else ""
    assert check(f"web: {command}", files, locked=HELD, app_object=served) == (
        [],
        [
            (
                f"{path}:1 imports requests, which Pipfile.lock does not have; run `deploy add requests`, and commit "
                "Pipfile and Pipfile.lock."
            )
        ],
    )


def test_the_message_shows_the_target_as_the_procfile_writes_it(check: Check) -> None:
    [error], [] = check("web: arq shop.jobs.Setings", SHOP, locked=HELD)
    assert error == (
        "shop/jobs.py does not bind `Setings`\n\n"
        "Procfile:1: `web` has arq run `shop.jobs.Setings`. shop/jobs.py binds `broker`, `huey`, `Settings`.\n\n"
        "hint: write `shop.jobs.Settings` in the Procfile, if that is what is meant, or bind `Setings` in "
        "shop/jobs.py."
    )
    [error], [] = check("web: gunicorn -c python:shop.conf shop:app", SHOP, locked=HELD)
    assert error == (
        "there is no module shop/conf.py\n\n"
        "Procfile:1: `web` has gunicorn use `-c python:shop.conf`. There is neither shop/conf.py nor a package "
        "shop/conf/.\n\n"
        "hint: name a module that exists, or add it."
    )


class TestWhatOptionsImport:
    LOCK = lock("flask", "gunicorn", "uvicorn", "hypercorn", "celery", "fastapi")

    @pytest.mark.parametrize(
        ("command", "package", "wanted_message"),
        [
            ("gunicorn -k gevent app:app", "gevent", "--worker-class gevent"),
            ("gunicorn --worker-class=eventlet app:app", "eventlet", "--worker-class eventlet"),
            ("gunicorn --chdir /srv -k eventlet app:app", "eventlet", "--worker-class eventlet"),
            (
                "gunicorn -k uvicorn_worker.UvicornWorker app:app",
                "uvicorn-worker",
                "--worker-class uvicorn_worker.UvicornWorker",
            ),
            ("uvicorn app:app --loop uvloop --host 0.0.0.0 --port $PORT", "uvloop", "--loop uvloop"),
            ("hypercorn -k trio -b 0.0.0.0:$PORT app:app", "trio", "--worker-class trio"),
            ("celery -A app worker -P gevent", "gevent", "--pool gevent"),
        ],
    )
    def test_a_package_that_is_not_locked(self, check: Check, command: str, package: str, wanted_message: str) -> None:
        files = {"app.py": "app = 1\n"}
        server = command.partition(" ")[0]
        assert check(f"web: {command}", files, locked=self.LOCK) == (
            [
                (
                    f"{package} is not in Pipfile.lock\n\n"
                    f"Procfile:1: `web` has {server} use `{wanted_message}`, which needs {package}.\n\n"
                    f"hint: run `deploy add {package}`, and commit Pipfile and Pipfile.lock."
                )
            ],
            [],
        )
        assert check(f"web: {command}", files, locked=lock(*PACKAGES, package)) == ([], [])

    def test_a_setting_in_gunicorns_file(self, check: Check) -> None:
        files = {"app.py": "app = 1\n", "gunicorn.conf.py": 'worker_class = "gevent"\nimport requests\n'}
        errors, notices = check("web: gunicorn app:app", files, locked=self.LOCK)
        assert [error.partition("\n")[0] for error in errors] == ["gevent is not in Pipfile.lock"]
        assert [notice.partition(",")[0] for notice in notices] == ["gunicorn.conf.py:2 imports requests"]
        files = {"gunicorn.conf.py": 'wsgi_app = "nowhere:app"\n'}
        errors, _ = check("web: gunicorn", files, locked=self.LOCK)
        assert [error.partition("\n")[0] for error in errors] == ["there is no module `nowhere`"]

    def test_a_class_of_the_app_s_own(self, check: Check) -> None:
        files = {"app.py": "app = 1\n", "own/__init__.py": "", "own/workers.py": "class Worker: ...\n"}
        assert check("web: gunicorn -k own.workers.Worker app:app", files, locked=self.LOCK) == ([], [])
        [error], [] = check("web: gunicorn -k own.wrokers.Worker app:app", files, locked=self.LOCK)
        assert error.startswith("there is no module own/wrokers.py\n")

    @pytest.mark.parametrize("worker", ["sync", "gthread", "uvicorn.workers.UvicornWorker", "$WORKER"])
    def test_classes_that_are_there(self, check: Check, worker: str) -> None:
        assert check(f"web: gunicorn -k {worker} app:app", {"app.py": "app = 1\n"}, locked=self.LOCK) == ([], [])

    def test_factories_of_servers_that_read_no_call(self, check: Check) -> None:
        files = {"app.py": "def make(name): ...\ndef make_all(): ...\n"}
        at = "--host 0.0.0.0 --port $PORT"
        [error], [] = check(f"web: uvicorn 'app:make_all()' {at}", files, locked=self.LOCK)
        assert error.startswith("uvicorn does not call what it serves\n")
        assert error.endswith("hint: write `--factory app:make_all` in the Procfile.")
        [error], [] = check(f"web: uvicorn --factory app:make {at}", files, locked=self.LOCK)
        assert error == (
            "`make` needs arguments, and uvicorn calls it without any\n\n"
            "Procfile:1: `web` has uvicorn serve `app:make` as a factory. app.py:1 defines it.\n\n"
            "hint: give each argument of `make` a default."
        )
        assert check(f"web: uvicorn --factory app:make_all {at}", files, locked=self.LOCK) == ([], [])


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("flask.py", "the package flask of Pipfile.lock"),
        ("celery/__init__.py", "the package celery of Pipfile.lock"),
        ("logging.py", "Python's own module logging"),
    ],
)
def test_a_module_that_hides_a_package(check: Check, tmp_path: Path, path: str, hidden: str) -> None:
    module = path.partition("/")[0].removesuffix(".py")
    _, [notice] = check("web: gunicorn app:app", {"app.py": "app = 1\n", path: ""})
    assert notice == f"{path} hides {hidden} from everything that imports `{module}`; rename it."
    inside = {"app.py": "app = 1\n", f"shop/{path}": "", "flask/templates/x.html": "", "calendar.py": ""}
    (tmp_path / "app" / path).unlink()
    assert check("web: gunicorn app:app", inside) == ([], [])


AT = "--host 0.0.0.0 --port $PORT"
DEBUGS = {
    f"flask --app app:app run --debug {AT}": "flask run --debug",
    f"flask --app app:app run --debugger {AT}": "flask run --debugger",
    f"FLASK_DEBUG=1 flask --app app:app run {AT}": "FLASK_DEBUG=1",
    f"cd sub && flask --app app:app run {AT}": "sub/.flaskenv:2: FLASK_DEBUG=on",
    "python served.py": "served.py:3: debug=True",
    "python served.py prod": "served.py:3: debug=True",
    "python -m served": "served.py:3: debug=True",
    "python run.py": "run.py:2: debug=True",
    "python made.py": "made.py:6: debug=True",
    "python -m shop": "shop/__main__.py:3: debug=True",
    "python started.py": "shop/start.py:4: use_debugger=True",
    "FLASK_DEBUG=true python plain.py": "FLASK_DEBUG=true",
    "cd sub && python plain.py": "sub/.flaskenv:2: FLASK_DEBUG=on",
    "python switched.py": "switched.py:3: app.debug = True",
    "python imports.py": 'shop/settings.py:3: config["DEBUG"] = True',
    "gunicorn wrapped:app": "wrapped.py:3: DebuggedApplication",
}
DEBUGGED = {
    "app.py": "app = 1\n",
    "served.py": "from flask import Flask\napp = Flask(__name__)\napp.run(debug=True, port=PORT)\n",
    "run.py": "from shop import app\napp.run('0.0.0.0', PORT, debug=True)\n",
    "made.py": "from shop import create_app\nDEBUG = True\n\nif __name__ == '__main__':\n    app = create_app()\n"
    "    app.run(port=PORT, debug=DEBUG)\n",
    "started.py": "from shop.start import main\nmain()\n",
    "plain.py": "from flask import Flask\napp = Flask(__name__)\napp.run(port=PORT)\n",
    "switched.py": "from flask import Flask\napp = Flask(__name__)\napp.debug = True\napp.run(port=PORT)\n",
    "imports.py": "from shop.settings import app\n\n\ndef main():\n    app.run(port=PORT)\n\n\nmain()\n",
    "wrapped.py": "from werkzeug.debug import DebuggedApplication\nfrom app import app\n"
    "app = DebuggedApplication(app, evalex=True)\n",
    "shop/__init__.py": "app = create_app = make()\n",
    "shop/__main__.py": "from . import app\nif __name__ == '__main__':\n    app.run(debug=True, port=PORT)\n",
    "shop/start.py": "from werkzeug.serving import run_simple\nfrom . import app\ndef main():\n"
    "    run_simple('0.0.0.0', PORT, app, use_debugger=True)\n",
    "shop/settings.py": "from . import app\n\napp.config['DEBUG'] = True\n",
    "sub/.flaskenv": "# in this folder\nFLASK_DEBUG=on\n",
    "sub/plain.py": "from flask import Flask\napp = Flask(__name__)\napp.run(port=PORT)\n",
}


@pytest.mark.parametrize("command", DEBUGS)
def test_the_debugger_in_production(check: Check, command: str) -> None:
    held = lock(*PACKAGES, "python-dotenv")
    warning = (
        f"Procfile:1: `web` runs with the debugger ({DEBUGS[command]}), which lets visitors run code; "
        "leave that out; `deploy local --dev` is for development."
    )
    errors, warnings = check(f"web: {command}", DEBUGGED, locked=held)
    assert (errors, [one for one in warnings if "debugger" in one]) == ([], [warning])
    assert "debugger" not in str(check(f"other: {command}", DEBUGGED, locked=held)), "only web has visitors"


@pytest.mark.parametrize(
    "command",
    [
        f"flask --app app:app run --debug --no-debugger {AT}",
        f"FLASK_DEBUG=0 flask --app app:app run {AT}",
        f"FLASK_DEBUG=1 flask --app app:app run --no-debug {AT}",
        f"cd sub && FLASK_DEBUG=no flask --app app:app run {AT}",
        "FLASK_DEBUG=1 python explicit.py",
        "python plain.py",
        "python asked.py prod",
        "python imports_dev.py",
        "python bot.py",
        "python broken.py",
        "gunicorn served:app",
        "gunicorn switched:app",
        "gunicorn guarded:app",
    ],
)
def test_no_debugger(check: Check, command: str) -> None:
    files = {
        **DEBUGGED,
        "explicit.py": "from shop import app\napp.run(port=PORT, debug=False)\n",
        "asked.py": "import sys\nfrom shop import app\nif sys.argv[1] == 'prod':\n    app.run(port=PORT)\nelse:\n"
        "    app.run(debug=True)\n",
        "imports_dev.py": "from shop.dev import app\napp.run(port=PORT)\n",
        "shop/dev.py": "from . import app\ndef dev():\n    app.run(debug=True)\nif __name__ == '__main__':\n"
        "    app.debug = True\n    dev()\n",
        "bot.py": "import asyncio\nasyncio.run(main(), debug=True)\n",
        "broken.py": "app.run(debug=True\n",
        "served.py": DEBUGGED["served.py"].replace("app.run", "if __name__ == '__main__':\n    app.run"),
        "guarded.py": "from app import app\nif app.debug:\n    app = DebuggedApplication(app, evalex=True)\n",
    }
    assert "debugger" not in str(check(f"web: {command}", files, locked=lock(*PACKAGES, "python-dotenv")))


def test_a_flaskenv_that_no_package_reads_starts_no_debugger(check: Check) -> None:
    assert "debugger" not in str(check(f"web: cd sub && flask --app app:app run {AT}", DEBUGGED))


@pytest.mark.parametrize(
    ("setting", "command", "hint"),
    [
        ("--test", "pipenv run test -x", "write `--test 'pytest -q -x'`."),
        ("--test", "pipenv shell", "name a command without pipenv, for example `--test pytest`."),
        ("environments.test.scripts.test", "poetry run pytest", "write `pytest` as {setting} in app.json."),
        ("environments.test.scripts.test-setup", "uv sync", "leave {setting} out."),
    ],
)
def test_a_tool_that_the_tests_would_not_find(setting: str, command: str, hint: str) -> None:
    def checked(held: Lock, stack: str | None = None):
        scripts = {"test": "pytest -q"}
        return check_test_command(command, setting=setting, lock=held, stack=stack, scripts=lambda: scripts)

    tool = command.partition(" ")[0]
    error = checked(lock("flask"))
    assert error is not None
    assert error.exit_code == 10
    assert str(error) == (
        f"`{' '.join(command.split()[:2])}` does not work in the image\n\n"
        f"{setting} starts {tool}, which Pipfile.lock does not have. The image needs no {tool}: its environment is "
        f"active already.\n\nhint: {hint.format(setting=setting)}"
    )
    assert checked(Lock(packages=(), develop=lock(tool).packages, sources=())) is None
    assert checked(lock("flask"), stack="ghcr.io/me/base:1") is None

"""Hints for commands and options of Heroku, Docker and Foreman that people type from habit."""

from __future__ import annotations

import click

from buildpack.app.nearest import find_nearest

_VARIABLES = "deploy keeps no variables yet: write them into .env, or pass them with `-e NAME=value` or `--env-file`."
_COUNTS = "name how many processes of each type to start: `deploy run web=2 worker=1`."
_LOGS = "`deploy run` and `deploy local` print all logs; `docker logs` shows those of a container."
_RELEASES = "deploy keeps no releases yet: name each image with `-t`, and run an earlier one by that name."
_SERVICES = "deploy starts no databases or other services yet: give their addresses with `-e` or in .env."
_ROUTER = "deploy has no router yet: web listens on the port of `-p`."
_STOP = "`deploy run` and `deploy local` stay in the foreground; Ctrl-C stops the processes."
_LOG_IN = "`docker login REGISTRY` saves a login, and deploy uses it."
_EXEC = "`deploy run -- CMD` runs a command in the app's image."
_PRUNE = "`deploy cache prune` frees disk space."
_CONTAINERS = "`docker ps` lists the containers; `deploy run` removes its own when it ends."
_PREBUILT = "Python is the only language, so there is nothing to choose."

_COMMANDS = {
    "addons": _SERVICES,
    "apps": "an app is a folder: `deploy init FOLDER` writes a new one.",
    "attach": "`deploy run` and `deploy local` show the output of their processes; `docker attach` joins a container.",
    "bash": "`deploy run -- bash` runs a shell in the app's image.",
    "buildpacks": _PREBUILT,
    "certs": _ROUTER,
    "clean": _PRUNE,
    "compose": "`deploy export compose` writes a compose file.",
    "config": _VARIABLES,
    "console": "`deploy run -- flask shell` runs a command in the app's image.",
    "container": "`deploy build --to registry -t REF` builds and pushes; `deploy push REF` pushes what is built.",
    "create": "`deploy init FOLDER` writes a new app.",
    "deploy": "`deploy build`, then `deploy run`; in a pipeline `deploy ci`.",
    "domains": _ROUTER,
    "down": _STOP,
    "enter": _EXEC,
    "env": _VARIABLES,
    "exec": _EXEC,
    "freeze": "`deploy inspect` lists the packages of an image.",
    "git": "deploy builds the app's folder as it is; there is no remote to push to.",
    "history": "`deploy inspect --layers` lists an image's layers.",
    "image": "`deploy inspect` shows an image, and `deploy cache info` counts them.",
    "images": "`deploy cache info --json` lists the images of the store.",
    "info": "`deploy inspect` shows what is in an image.",
    "install": "`deploy add PKG` adds a package; `deploy local` installs what Pipfile.lock lists.",
    "kill": _STOP,
    "labs": _PREBUILT,
    "load": "`deploy build --to docker` loads the image into the engine.",
    "login": _LOG_IN,
    "logout": _LOG_IN,
    "logs": _LOGS,
    "maintenance": _ROUTER,
    "members": "deploy has no accounts: anyone with the folder can build it.",
    "pg": _SERVICES,
    "pipelines": "`deploy ci` is the step of a pipeline that makes the image.",
    "plugins": "there are no plugins.",
    "prune": _PRUNE,
    "ps": _CONTAINERS,
    "publish": "`deploy push REF` sends an image to its registry; `deploy ci --push` tests it first.",
    "pull": "`deploy run REF` pulls an image if the engine lacks it.",
    "redis": _SERVICES,
    "releases": _RELEASES,
    "restart": "stop the running command with Ctrl-C and start it again; `--restart` does so for ended processes.",
    "rm": _CONTAINERS,
    "rmi": "`deploy cache prune --all` removes images from the store.",
    "rollback": _RELEASES,
    "save": "`deploy build --to archive:FILE` writes the image into a file.",
    "scale": _COUNTS,
    "serve": "`deploy local` runs the Procfile's processes on this machine.",
    "shell": "`deploy run -- sh` runs a shell in the app's image.",
    "stack": "choose the base of images with `--stack`, or with `stack` in deploy.toml.",
    "start": "`deploy local` runs the Procfile's processes on this machine.",
    "stop": _STOP,
    "sync": "`deploy local` installs what Pipfile.lock lists.",
    "tag": "name an image when you build it (`deploy build -t REF`) or push it (`deploy push -t REF`).",
    "tail": _LOGS,
    "test": "`deploy ci` runs the app's tests in its image.",
    "up": "`deploy run` starts the app's processes in containers, `deploy local` on this machine.",
    "update": "`deploy lock --upgrade` upgrades every package, `deploy lock -P PKG` one.",
    "upgrade": "`deploy lock --upgrade` upgrades every package, `deploy lock -P PKG` one.",
    "version": "`deploy --version` shows the version.",
    "wait": _STOP,
}
_WHOLE = {
    "ps:exec": _COMMANDS["exec"],
    "ps:kill": _STOP,
    "ps:restart": _COMMANDS["restart"],
    "ps:scale": _COUNTS,
    "ps:stop": _STOP,
    "ps:type": "limit a process with `--memory` and `--cpus`.",
    "run:detached": "`deploy run` stays in the foreground; there is no detached mode yet.",
    "run:inside": _COMMANDS["exec"],
}
"""Commands of Heroku whose part after the colon needs a hint of its own."""

_DETACHED = "there is no detached mode yet: deploy stays in the foreground."
_OPTIONS = {
    "--app": "name the app's folder as it is, without an option.",
    "-a": "name the app's folder as it is, without an option.",
    "--build-arg": "`--build-env NAME=value` sets a variable for hooks.",
    "--config": "settings are in deploy.toml in the app's folder.",
    "--detach": _DETACHED,
    "-d": _DETACHED,
    "--file": "the Procfile is read from the app's folder; name the folder as it is, without an option.",
    "-f": "the Procfile is read from the app's folder; name the folder as it is, without an option.",
    "--interactive": "a command after `--` gets this terminal.",
    "-it": "a command after `--` gets this terminal.",
    "--name": "name the image with `-t`, or the app with `name` in deploy.toml.",
    "--procfile": "the Procfile is read from the app's folder; name the folder as it is, without an option.",
    "--publish": "`-p PORT` chooses the port of web.1.",
    "--remote": "name the app's folder or its image as it is, without an option.",
    "--rm": "leave it out; deploy removes its containers when they end.",
    "--tty": "a command after `--` gets this terminal.",
    "--volume": "there are no volumes yet; keep files in a service and give its address with `-e`.",
}


def command_hint(word: str, known: tuple[str, ...]) -> str:
    """Return the hint for a command that does not exist; `known` are those that do."""
    first = word.partition(":")[0].lower()
    hint = _WHOLE.get(word.lower()) or _COMMANDS.get(first)
    if hint is None and first in known and ":" in word:
        hint = f"did you mean `deploy {first}`?"
    if hint is None and (near := find_nearest(word, known)):
        hint = f"did you mean `deploy {near}`?"
    return hint or "`deploy --help` lists the commands."


def option_hint(option: str, ctx: click.Context) -> str:
    """Return the hint for an option that a command does not have."""
    known = [each for parameter in ctx.command.params for each in (*parameter.opts, *parameter.secondary_opts)]
    names = [each for each in known if each.startswith("--")]
    hint = _OPTIONS.get(option)
    if hint is None and (near := find_nearest(option, names)):
        hint = f"did you mean {near}?"
    return hint or f"`{ctx.command_path} --help` shows the usage."

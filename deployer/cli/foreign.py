"""Hints for commands and options of Heroku, Docker and Foreman that people type from habit."""

from __future__ import annotations

import click

from buildpack.app.nearest import find_nearest

_FOR_COMMANDS = {
    "addons pg redis": "deploy starts no databases or other services yet: give their addresses with `-e` or in .env.",
    "apps": "an app is a folder: `deploy init FOLDER` writes a new one.",
    "attach": "`deploy run` and `deploy local` show the output of their processes; `docker attach` joins a container.",
    "bash": "`deploy run -- bash` runs a shell in the app's image.",
    "buildpacks labs": "Python is the only language, so there is nothing to choose.",
    "certs domains maintenance": "deploy has no router yet: web listens on the port of `-p`.",
    "clean prune": "`deploy cache prune` frees disk space.",
    "compose": "`deploy export compose` writes a compose file.",
    "config env": (
        "deploy keeps no variables yet: write them into .env, or pass them with `-e NAME=value` or `--env-file`."
    ),
    "console": "`deploy run -- flask shell` runs a command in the app's image.",
    "container": "`deploy build --to registry -t REF` builds and pushes; `deploy push REF` pushes what is built.",
    "create": "`deploy init FOLDER` writes a new app.",
    "deploy": "`deploy build`, then `deploy run`; in a pipeline `deploy ci`.",
    "down kill stop wait ps:kill ps:stop": (
        "`deploy run` and `deploy local` stay in the foreground; Ctrl-C stops the processes."
    ),
    "enter exec ps:exec run:inside": "`deploy run -- CMD` runs a command in the app's image.",
    "freeze": "`deploy inspect` lists the packages of an image.",
    "git": "deploy builds the app's folder as it is; there is no remote to push to.",
    "history": "`deploy inspect --layers` lists an image's layers.",
    "image": "`deploy inspect` shows an image, and `deploy cache info` counts them.",
    "images": "`deploy cache info --json` lists the images of the store.",
    "info": "`deploy inspect` shows what is in an image.",
    "install": "`deploy add PKG` adds a package; `deploy local` installs what Pipfile.lock lists.",
    "load": "`deploy build --to docker` loads the image into the engine.",
    "login logout": "`docker login REGISTRY` saves a login, and deploy uses it.",
    "logs tail": "`deploy run` and `deploy local` print all logs; `docker logs` shows those of a container.",
    "members": "deploy has no accounts: anyone with the folder can build it.",
    "pipelines": "`deploy ci` is the step of a pipeline that makes the image.",
    "plugins": "there are no plugins.",
    "ps rm": "`docker ps` lists the containers; `deploy run` removes its own when it ends.",
    "ps:type": "limit a process with `--memory` and `--cpus`.",
    "publish": "`deploy push REF` sends an image to its registry; `deploy ci --push` tests it first.",
    "pull": "`deploy run REF` pulls an image if the engine lacks it.",
    "releases rollback": (
        "deploy keeps no releases yet: name each image with `-t`, and run an earlier one by that name."
    ),
    "restart ps:restart": (
        "stop the running command with Ctrl-C and start it again; `--restart` does so for ended processes."
    ),
    "rmi": "`deploy cache prune --all` removes images from the store.",
    "run:detached": "`deploy run` cannot run in the background yet: keep its terminal open.",
    "save": "`deploy build --to archive:FILE` writes the image into a file.",
    "scale ps:scale": "name how many processes of each type to start: `deploy run web=2 worker=1`.",
    "serve start": "`deploy local` runs the Procfile's processes on this machine.",
    "shell": "`deploy run -- sh` runs a shell in the app's image.",
    "stack": "choose the base of images with `--stack`, or with `stack` in deploy.toml.",
    "sync": "`deploy local` installs what Pipfile.lock lists.",
    "tag": "name an image when you build it (`deploy build -t REF`) or push it (`deploy push -t REF`).",
    "test": "`deploy ci` runs the app's tests in its image.",
    "up": "`deploy run` starts the app's processes in containers, `deploy local` on this machine.",
    "update upgrade": "`deploy lock --upgrade` upgrades every package, `deploy lock -P PKG` one.",
    "version": "`deploy --version` shows the version.",
}
"""Commands. A name with a colon is one of Heroku's whose part after it needs a hint of its own."""

_FOR_OPTIONS = {
    "--app -a": "name the app's folder as it is, without an option.",
    "--build-arg": "`--build-env NAME=value` sets a variable for hooks.",
    "--config": "settings are in deploy.toml in the app's folder.",
    "--detach -d": "leave it out: `deploy run` cannot run in the background yet.",
    "--file -f --procfile": "the Procfile is read from the app's folder; name the folder as it is, without an option.",
    "--interactive -it --tty": "a command after `--` gets this terminal.",
    "--name": "name the image with `-t`, or the app with `name` in deploy.toml.",
    "--publish": "`-p PORT` chooses the port of web.1.",
    "--remote": "name the app's folder or its image as it is, without an option.",
    "--rm": "leave it out; deploy removes its containers when they end.",
    "--volume": "there are no volumes yet; keep files in a service and give its address with `-e`.",
}

_COMMANDS = {word: hint for words, hint in _FOR_COMMANDS.items() for word in words.split()}
_OPTIONS = {word: hint for words, hint in _FOR_OPTIONS.items() for word in words.split()}


def command_hint(word: str, known: tuple[str, ...]) -> str:
    """Return the hint for a command that does not exist; `known` are those that do."""
    first = word.partition(":")[0].lower()
    hint = _COMMANDS.get(word.lower()) or _COMMANDS.get(first)
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

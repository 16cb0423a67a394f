"""The wording of the errors that `deployer` itself raises; the type and the exit codes are `buildpack.errors`'s."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import (
    AppError,
    BuildpackError,
    DependencyError,
    EngineError,
    LostError,
    MachineError,
    StackError,
    UsageError,
)


def no_current_folder() -> MachineError:
    """Word a current folder that was removed meanwhile."""
    return MachineError(
        "the current folder is gone",
        why="It was removed after this shell entered it, or may not be entered any more.",
        hint="go to one that is there: `cd` alone leads home.",
    )


def push_unnamed() -> UsageError:
    """Word a push to nowhere."""
    return UsageError(
        "there is no registry to push to",
        why="The image has no name with a registry in it.",
        hint="name it: `-t ghcr.io/you/app:1`.",
    )


def machine_failed(error: OSError | MemoryError) -> MachineError | None:
    """Word an operating system's refusal that is not our bug; None for any other."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
    said = f"The operating system says: {os.strerror(number or 0)}."
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return MachineError(
            f"the disk is full{':' if where else ''}{where}",
            why="Nothing half-written was left under a final name.",
            hint="free some space, or set DEPLOY_HOME to a folder on another disk, and run the command again.",
        )
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return MachineError(
            f"not permitted:{where or ' (no path named)'}",
            why=said,
            hint="check the owner and mode of that path, or set DEPLOY_HOME to a folder you may write to.",
        )
    if number == errno.ENAMETOOLONG:
        return MachineError(
            f"a path is too long{':' if where else ''}{where}",
            why="A name may have 255 bytes on most file systems, and a path 4096.",
            hint="use a shorter one.",
        )
    if number in {errno.EMFILE, errno.ENFILE}:
        return MachineError(
            "too many open files",
            why=said,
            hint="raise the limit with `ulimit -n 4096`, and run the command again.",
        )
    if number in {errno.ENOMEM, errno.EAGAIN}:
        return MachineError(
            "this machine has no memory left, or no room for another process",
            why=said,
            hint="end other programs, raise the container's memory limit (`ulimit -a` shows a shell's), and try again.",
        )
    if number in {errno.EIO, errno.EFBIG, errno.ESTALE, errno.ENODEV}:
        return MachineError(
            f"a disk fails{':' if where else ''}{where}",
            why=said,
            hint="check the disk and `ulimit -f`, or set DEPLOY_HOME to a folder on another one.",
        )
    return None


def made_anew(what: str) -> str:
    """Word the warning that something kept from earlier was damaged."""
    return f"{what}; it was made anew. If this happens again, check the disk."


def others_made_anew(count: int) -> str:
    """Word the warning that more of the store was damaged than what was just needed."""
    blobs = "1 more blob in the store was" if count == 1 else f"{count} more blobs in the store were"
    return f"{blobs} damaged and dropped; what this build needs of them was made again."


def more_lost(lost: LostError, count: int) -> LostError:
    """Add to an error that nothing can heal here how many blobs of the image turned out damaged."""
    if count > 1:
        lost.why = f"{lost.why} So were others that are damaged: {count} blobs of the image are missing now."
    return lost


def destination_in_app(destination: str) -> str:
    """Word the warning that an image was written among the files that the next one is made of."""
    return (
        f"--to {destination} lies in the app's folder, so the next image will hold this one; "
        "name a place elsewhere, or list it in .dockerignore."
    )


def env_file_missing(path: Path) -> UsageError:
    """Word an `--env-file` that is not there."""
    return UsageError(f"no such file: {path}", hint="name an existing file of NAME=value lines.")


def env_file_undecodable(path: Path, offset: int) -> AppError:
    """Word a `.env` file that is not UTF-8."""
    return AppError(
        f"{path} is not UTF-8",
        why=f"The byte at offset {offset} is part of no character.",
        hint="save the file as UTF-8 and try again.",
    )


def env_file_too_large(path: Path, most: int) -> AppError:
    """Say that a `.env` file is larger than an environment can be."""
    return AppError(
        f"{path} is too large",
        why=f"deploy reads at most {most >> 20} MB of variables.",
        hint="remove what is not a variable of the app.",
    )


def env_file_expands(path: Path, line: int, most: int) -> AppError:
    """Say that the variables in a `.env` file expand to more than a process can be given."""
    return AppError(
        f"{path} expands to more than {most >> 20} MB",
        why=f"{path}:{line} refers to variables whose values are too long; no process can be started with them.",
        hint=f"remove a `${{NAME}}` from {path}:{line}.",
    )


def env_file_unreadable(path: Path, lines: Sequence[int]) -> AppError:
    """Word lines of a `.env` file that are no assignments; what stands there may be secret, so it is not shown."""
    places = ", ".join(f"{path}:{line}" for line in lines)
    return AppError(
        f"{path} has {'a line' if len(lines) == 1 else f'{len(lines)} lines'} that cannot be read",
        why=f"{places}: a line is NAME=value; a quote that opens must close, and nothing may follow it.",
        hint="mend it, or begin it with `#`.",
    )


def variables_required(names: Sequence[str]) -> AppError:
    """Word variables that app.json requires and that nobody set."""
    subject, pronoun = ("It has", "it") if len(names) == 1 else ("They have", "them")
    return AppError(
        f"app.json requires {_listed(names)}",
        why=f"{subject} no value; nothing was started.",
        hint=f"set {pronoun} in .env, with `-e {names[0]}=VALUE`, or with `--env-file FILE`.",
        place="app.json",
    )


def variables_lacking(names: Sequence[str], *, required: bool, own_file: bool) -> str:
    """Warn of variables that app.json requires, or only describes, and that have no value.

    `own_file` is true if the command reads the app's .env.
    """
    verb = "requires" if required else "describes"
    have, pronoun = ("has", "it") if len(names) == 1 else ("have", "them")
    places = "in .env or with -e" if own_file else "with -e or under environments.test.env in app.json"
    otherwise = "" if required else ', or write `"required": false` in app.json'
    return f"app.json {verb} {_listed(names)}, which {have} no value here; set {pronoun} {places}{otherwise}."


def secrets_made(names: Sequence[str], place: Path) -> str:
    """Say that secrets were made, and where they are kept."""
    return f"made a secret for {_listed(names)} (app.json asks for it); it is kept in {place}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def bad_health_host(text: str) -> UsageError:
    """Say that an operand of --health-host is not the name of a host."""
    return UsageError(
        f"--health-host {text[:60]!r} is not the name of a host", hint="for example --health-host example.com"
    )


def bad_assignment(text: str) -> UsageError:
    """Word an operand of `-e` that sets nothing."""
    name = text.partition("=")[0]
    return UsageError(
        f"-e {name!r} sets no variable",
        why="A config var is given as NAME=value." if "=" not in text else "The name before the equals sign is empty.",
        hint=f"write -e {name or 'NAME'}=value.",
    )


def bad_label(text: str) -> UsageError:
    """Word an operand of `--label` that is none."""
    return UsageError(
        f"--label {text!r} is not NAME=value", hint="write `--label org.opencontainers.image.version=1.0`."
    )


def undecodable_label(text: str) -> UsageError:
    """Word an operand of `--label` that no image's config, which is JSON, can hold."""
    return UsageError(
        f"--label {text!r} is not UTF-8",
        why="Labels are written into the image as UTF-8.",
        hint="write it in UTF-8; `locale` tells what this terminal writes.",
    )


def reserved_label(name: str) -> UsageError:
    """Word a `--label` that would say something else of an image than how it was built."""
    return UsageError(
        f"--label {name}: labels that begin with `dev.deploy.` are set by the build",
        hint="choose a prefix of your own, such as com.example.",
    )


def bad_epoch(text: str) -> UsageError:
    """Word a SOURCE_DATE_EPOCH that is no time."""
    return UsageError(
        f"SOURCE_DATE_EPOCH is not a number of seconds: {text[:40]!r}",
        hint="set it to the commit's time, `git log -1 --format=%ct`, or unset it.",
    )


def bad_size(option: str, text: str) -> UsageError:
    """Word an amount of bytes that is none."""
    return UsageError(
        f"{option} {text[:40]!r} is no amount of bytes",
        why="It is a number with a unit: KB, MB, GB, TB, or KiB, MiB, GiB, TiB.",
        hint=f"for example {option} 2GB.",
    )


def bad_age(option: str, text: str) -> UsageError:
    """Word an age that is none."""
    return UsageError(
        f"{option} {text[:40]!r} is no length of time",
        why="It is a number with a unit: s, m, h, d or w.",
        hint=f"for example {option} 7d.",
    )


def nothing_to_prune() -> UsageError:
    """Word a `cache prune` that says no limit."""
    return UsageError(
        "nothing says what to drop",
        hint="name a limit: `--keep-storage 2GB`, or `--older-than 7d`.",
    )


def unknown_destination(text: str) -> UsageError:
    """Word a `--to` that names no destination."""
    return UsageError(
        f"--to {text!r} is no destination",
        hint="use docker, registry, oci:DIR or archive:FILE.",
    )


def engine_of_another_platform(engine: str, platforms: Sequence[str]) -> EngineError:
    """Word an engine that runs none of the platforms that an image is built for."""
    return EngineError(
        f"the engine runs {engine}, and the image is for {', '.join(platforms)}",
        why="An engine takes the image of its own platform.",
        hint=f"add {engine} to the platforms, or send the image elsewhere: `--to oci:DIR`, `--to archive:FILE`.",
    )


# Operands


def operand_empty() -> UsageError:
    """Word an operand without a character, as shells make of a variable that is not set."""
    return UsageError(
        "an operand is empty",
        why="It names neither a folder nor anything else; a shell makes that of a variable that is not set.",
        hint="name the app's folder, or `.` for this one.",
    )


def bad_operand(text: str) -> UsageError:
    """Word an operand that is neither an app, nor an image, nor a process type."""
    return UsageError(
        f"{text!r} is no process type",
        why="After the app or the image come process types, as TYPE or TYPE=N.",
        hint="for example `web=2 worker`; a command of its own comes after `--`.",
    )


def no_such_folder(text: str) -> UsageError:
    """Word a first operand that can only be a path, and leads nowhere."""
    return UsageError(
        f"there is no folder {text}",
        why="An image is named with its tag or digest, and process types have no slash.",
        hint=f"check the path; the image would be {text}:latest." if "=" not in text else "check the path.",
    )


def bad_quantity(name: str, count: str, most: int) -> UsageError:
    """Word a number of processes that is none."""
    return UsageError(
        f"{name}={count}: {count!r} is no number of processes",
        why=f"It is a whole number from 0 to {most}.",
        hint=f"for example {name}=2.",
    )


def counted_twice(name: str) -> UsageError:
    """Word a process type that is named twice."""
    return UsageError(f"{name!r} is named twice", hint=f"write {name}=2 to start two of them.")


def command_missing() -> UsageError:
    """Word a ``--`` that nothing follows."""
    return UsageError("no command follows `--`", hint="for example `deploy run -- flask shell`.")


def command_with_types(names: Sequence[str]) -> UsageError:
    """Word process types beside a command."""
    return UsageError(
        f"both a process type ({', '.join(names)}) and a command are given",
        why="What follows `--` is run instead of the app's processes.",
        hint="leave one of them out.",
    )


def unknown_type(name: str, known: Sequence[str], where: str) -> UsageError:
    """Word a process type that the app or image does not have; `where` names which one."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{where} has no process type {name!r}",
        why=f"It has {', '.join(known)}.",
        hint=f"did you mean {near!r}?" if near else "name one of these.",
    )


def neither_folder_nor_type(name: str, known: Sequence[str]) -> UsageError:
    """Word a first operand that is nothing; `known` are the process types of the current folder."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{name!r} is neither a folder nor a process type",
        why=f"This folder's process types are {', '.join(known)}." if known else "This folder holds no Procfile.",
        hint=f"did you mean {near!r}?" if near else "name a folder that holds an app, or go into one.",
    )


def nothing_to_start(known: Sequence[str], where: str) -> UsageError:
    """Word a formation of no process at all."""
    return UsageError(
        f"there is nothing to start in {where}",
        why=f"Every process type ({', '.join(known)}) is left out or counted 0.",
        hint="name a process type, for example `web=1`, or set its quantity in app.json.",
    )


def no_pipfile(folder: Path) -> AppError:
    """Word that there is nothing to lock."""
    return AppError(
        f"there is no Pipfile in {folder}",
        why="pipenv locks what a Pipfile asks for.",
        hint="write one, with `flask` and `gunicorn` under [packages], and run `deploy lock` again.",
    )


def not_a_requirement(text: str) -> UsageError:
    """Word an operand of `deploy add` that is not a name with a version."""
    return UsageError(
        f"{text!r} is not a requirement that `deploy add` can write",
        why="A requirement is a name, with extras, versions and a marker if need be, as in 'flask[async]>=3'.",
        hint="write a package from git, a path or a URL into Pipfile by hand, and run `deploy lock`.",
    )


def not_in_pipfile(name: str, *, section: str, other: str) -> AppError:
    """Word a package to remove that Pipfile does not ask for; `other` is the section that has it, if any."""
    dev = "with" if other == "dev-packages" else "without"
    return AppError(
        f"Pipfile has no {name} under [{section}]",
        why=f"[{other}] has it." if other else "A package that only others need goes with the last of them.",
        hint=f"run the command again {dev} `--dev`." if other else f"look at the names under [{section}] in Pipfile.",
    )


def no_package_to_move(name: str, known: Sequence[str]) -> UsageError:
    """Return the error of a package that the app does not have, so that `deploy lock -P` cannot move it."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"neither Pipfile nor Pipfile.lock has {name}",
        why="`--upgrade-package` moves a package that the app has to its newest version.",
        hint=f"did you mean `{near}`?" if near else f"add the package with `deploy add {name}`.",
    )


def pipenv_missing(python: str) -> DependencyError:
    """Word that pipenv is not installed beside us."""
    return DependencyError(
        "pipenv is not installed",
        why=f"{python} -m pipenv does not start.",
        hint="install deploy again with its dependencies, or `pip install pipenv` beside it.",
    )


def lock_failed(folder: Path, output: str, *, edited: bool, built: bool) -> DependencyError:
    """Return the error of a lock that failed; `output` is the end of what pipenv said.

    `edited` is true for an add or remove, `built` if a package's own build failed.
    """
    hint = (
        "if the build needs a variable, give it with `--build-env NAME=VALUE`, or below `[build.env]` in deploy.toml."
    )
    if edited:
        return DependencyError(
            f"pipenv could not lock {folder / 'Pipfile'} with the change",
            why=f"Pipfile and Pipfile.lock are as they were. The end of what pipenv said:\n\n{output}",
            hint=hint if built else "ask for other packages or versions, where pipenv's message points.",
        )
    return DependencyError(
        f"pipenv could not lock {folder / 'Pipfile'}",
        why=f"Pipfile.lock is as it was. The end of what pipenv said:\n\n{output}",
        hint=hint
        if built
        else "fix the Pipfile where pipenv's message points, and run `deploy lock -v` to see all of it.",
    )


def stack_not_pinned(error: StackError) -> StackError:
    """Word a stack whose digest cannot be looked up, once Pipfile.lock is refreshed."""
    return StackError(
        f"the stack cannot be pinned: {error.what}",
        why=f"Pipfile.lock is refreshed, and deploy.toml is as it was. {error.why}",
        hint=f"`deploy lock --no-pin` leaves the stack as it is; {error.hint}",
    )


def store_unwritable(root: Path) -> MachineError:
    """Word a store that is to be pruned and cannot be written."""
    return MachineError(
        f"the store at {root} cannot be written, so nothing was dropped",
        why="It is another user's, or on a disk that cannot be written to.",
        hint="prune it as its owner, or set DEPLOY_HOME to the store that you mean.",
    )


# Readiness


class BootError(BuildpackError):
    """The image was built, and its web process never answered; a child's own exit code where it died."""

    exit_code = 50


def boot_timed_out(
    process: str, *, port: int, cause: str, heard: str, problem: str, seconds: float, log: Sequence[str]
) -> BootError:
    """Return the error of a web process that runs but does not answer; `cause` is a `Cause` of `readiness.health`."""
    why = {
        "nothing": "It listens on no port at all.",
        "port": f"It listens on {heard}, and not on port {port}, which PORT tells it.",
        "address": f"It listens on {heard}, which can be reached from inside its container only.",
        "apart": f"It listens on {heard}, but localhost does not lead there.",
        "silent": f"It listens on {heard}, but {problem}.",
    }.get(cause, f"On port {port} {problem}.")
    hint = {
        "port": "let it listen on 0.0.0.0:$PORT, as gunicorn does by default.",
        "address": "let it listen on 0.0.0.0:$PORT instead of 127.0.0.1.",
        "apart": "let it listen on 0.0.0.0:$PORT or 127.0.0.1:$PORT.",
    }.get(cause, "see in its log what it waits for; `--boot-timeout` gives it more time.")
    return BootError(f"{process} did not answer within {seconds:.0f} s", why=_with_log(why, log), hint=hint)


def listens_elsewhere(process: str, *, heard: str, port: int) -> str:
    """Return the line for a web process that listens on something else than `port`."""
    return f"{process} listens on {heard}; it should listen on 0.0.0.0:{port}, because PORT is {port}"


def boot_refused(process: str, status: int, *, path: str, host: str, reason: str, log: Sequence[str]) -> BootError:
    """Return the error of a web process whose last answer to its health check has a status of 4xx or 5xx.

    `reason` is the app's, if known.
    """
    if reason == "DisallowedHost":
        why = f"It was asked for the host `{host}`, which its ALLOWED_HOSTS does not have ({reason})."
        hint = "name a host of ALLOWED_HOSTS with --health-host."
    elif status >= 500:
        why = f"It was asked for the host `{host}` until its time was over, and only 2xx and 3xx pass."
        hint = "fix what its log says; `--boot-timeout` helps only an app that needs longer to start."
    else:
        why = f"It was asked for the host `{host}`. Only 2xx and 3xx pass for a path that --health names."
        hint = "name a path that answers without a login with --health, or the app's host with --health-host."
    return BootError(f"{process} answers {status} to GET {path}", why=_with_log(why, log), hint=hint)


def boot_failed(process: str, code: int, *, told: str, log: Sequence[str]) -> BootError:
    """Word a web process that ended before it answered; the exit code is its own, 50 if that is 0."""
    error = BootError(
        f"{process} ended before it answered: {told}",
        why=_with_log("" if log else "It wrote nothing.", log),
        hint="run its command by itself to look closer: `deploy run -- sh`.",
    )
    error.exit_code = code or BootError.exit_code
    return error


class ProcessEndedError(BuildpackError):
    """A process of the formation failed, and the others were stopped; the exit code is its own."""


def process_ended(
    process: str, code: int, *, told: str, others: bool, restart: str, log: Sequence[str]
) -> ProcessEndedError:
    """Describe a process that failed once everything was up.

    `told` says how it ended. `others` is true if other processes were running. `restart` is the value of --restart.
    """
    from deployer.runner.restart import History, decide

    if restart == "no" and decide("on-failure", History(), code, 0.0, lambda: 0.0).delay is not None:
        hint = f"`--restart on-failure` starts one that fails again{', and leaves the others alone' if others else ''}."
    else:
        hint = "fix what makes it fail, then run the command again."
    error = ProcessEndedError(
        f"{process} ended{', so the others were stopped' if others else ''}: {told}",
        why=_with_log("" if log else "It wrote nothing.", log),
        hint=hint,
    )
    error.exit_code = code
    return error


def _with_log(why: str, log: Sequence[str]) -> str:
    if not log:
        return why
    lines = "\n".join(f"  {line}" for line in log)
    return f"{why}\n\nFrom its log:\n{lines}".lstrip("\n")

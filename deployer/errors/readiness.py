"""Errors of processes that do not answer, or end."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import BuildpackError


class BootError(BuildpackError):
    """The web process of an image never answered; the exit code is the process's own if it died."""

    exit_code = 50


def boot_timed_out(
    process: str, *, port: int, cause: str, heard: str, problem: str, seconds: float, log: Sequence[str]
) -> BootError:
    """Return the error of a web process that runs but does not answer; `cause` is a `Cause` of `readiness.health`."""
    why = {
        "nothing": "It does not listen on any port.",
        "port": f"It listens on {heard}, not on port {port}, to which PORT is set.",
        "address": f"It listens on {heard}, which can be reached only from inside its container.",
        "apart": f"It listens on {heard}, which localhost does not reach.",
        "silent": f"It listens on {heard}, but {problem}.",
    }.get(cause, f"On port {port} {problem}.")
    hint = {
        "port": "let it listen on 0.0.0.0:$PORT, as gunicorn does by default.",
        "address": "let it listen on 0.0.0.0:$PORT instead of 127.0.0.1.",
        "apart": "let it listen on 0.0.0.0:$PORT or 127.0.0.1:$PORT.",
    }.get(cause, "its log may show what it waits for; `--boot-timeout` gives it more time.")
    return BootError(f"{process} did not answer within {seconds:.0f} s", why=_with_log(why, log), hint=hint)


def listens_elsewhere(process: str, *, heard: str, port: int) -> str:
    return f"{process} listens on {heard}; it should listen on 0.0.0.0:{port}, because PORT is {port}"


def boot_refused(process: str, status: int, *, path: str, host: str, reason: str, log: Sequence[str]) -> BootError:
    """Return the error of a web process whose last answer to its health check has a status of 4xx or 5xx.

    `reason` is the app's, if known.
    """
    if reason == "DisallowedHost":
        why = f"The request was for the host `{host}`, which its ALLOWED_HOSTS does not have ({reason})."
        hint = "name a host of ALLOWED_HOSTS with --health-host."
    elif status >= 500:
        why = f"It answered so to requests for the host `{host}` until the time was over. Only 2xx and 3xx pass."
        hint = "fix what its log says; `--boot-timeout` helps only an app that needs longer to start."
    else:
        why = f"The request was for the host `{host}`. Only 2xx and 3xx pass for a path that --health names."
        hint = "name a path that answers without a login with --health, or the app's host with --health-host."
    return BootError(f"{process} answers {status} to GET {path}", why=_with_log(why, log), hint=hint)


def boot_failed(process: str, code: int, *, ending: str, log: Sequence[str]) -> BootError:
    """Return the error of a web process that ended before it answered; the exit code is its own, 50 if that is 0."""
    error = BootError(
        f"{process} ended before it answered: {ending}",
        why=_with_log("" if log else "It wrote nothing.", log),
        hint="run its command by itself to look closer: `deploy run -- sh`.",
    )
    error.exit_code = code or BootError.exit_code
    return error


class ProcessEndedError(BuildpackError):
    """A process of the formation failed, and the others were stopped; the exit code is its own."""


def process_ended(
    process: str, code: int, *, ending: str, others: bool, restart: str, log: Sequence[str]
) -> ProcessEndedError:
    """Return the error of a process that failed after everything was up.

    `ending` says how it ended. `others` is true if other processes were running. `restart` is the value of --restart.
    """
    from deployer.runner.restart import History, decide

    if restart == "no" and decide("on-failure", History(), code, 0.0, lambda: 0.0).delay is not None:
        keeps = ", and leaves the others alone" if others else ""
        hint = f"`--restart on-failure` starts a process that fails again{keeps}."
    else:
        hint = "fix what makes it fail, then run the command again."
    error = ProcessEndedError(
        f"{process} ended{', so the others were stopped' if others else ''}: {ending}",
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

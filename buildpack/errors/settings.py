"""Errors of deploy.toml and app.json: their format, their keys and their values."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import AppError, BuildpackError, Notice, UsageError, caret, file_of, show

UNUSABLE_TEXT = "a text has NUL or half a surrogate pair in it, which paths and variables cannot have"


def bad_document(
    name: str, kind: str, reason: str, *, hint: str, line: int = 0, column: int = 0, text: str = ""
) -> BuildpackError:
    """`kind` is JSON or TOML; `line` is 0 if the parser gives none."""
    place = f"{name}:{line}:{column}" if line else name
    shown = f"\n{caret(text, column)}" if text.strip() else ""
    return AppError(
        f"{name} is not valid {kind}",
        why=f"{place}: {reason}{shown}{_conflict(text, name)}",
        hint=hint,
        place=f"{name}:{line}" if line else name,
    )


def no_object(name: str, *, hint: str) -> BuildpackError:
    return AppError(
        f"{name} does not hold an object", why=f"{name}:1: it does not begin with `{{`.", hint=hint, place=name
    )


def _conflict(line: str, name: str) -> str:
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        return f"\n\nIt is the mark of a merge conflict in {name}."
    return ""


def unknown_setting(place: str, key: str, nearest: str | None, known: Sequence[str]) -> BuildpackError:
    """In `nearest` and `known` a table is in brackets."""
    return AppError(
        f"deploy.toml has an unknown key `{show(key)}`",
        why=f"{place}: the keys are {', '.join(f'`{one}`' for one in known)}.",
        hint=f"did you mean `{nearest}`?" if nearest else "remove the line.",
        place=place,
    )


_WANTED = {
    "name": "An image's name holds lower-case letters, digits, and single `.`, `_`, `-` or `/` between them.",
    "stack": "A stack is `host`, an image such as `python:3.13-slim`, `oci:FOLDER` or `archive:FILE`.",
    "platform": "A platform is `linux/amd64`, `linux/arm64` or the like; commas separate several.",
}


def bad_setting(key: str, origin: str, found: str, *, kind: str = "", suggested: str = "") -> BuildpackError:
    """`kind` is the type that the value does not have."""
    wanted = f"It must be {kind}. {_WANTED[key]}" if kind else _WANTED[key]
    if not file_of(origin):
        hint = f"give {origin} another value" + (f", such as `{suggested}`." if suggested else ".")
        return UsageError(f"{origin} cannot be {show(found)}", why=wanted, hint=hint)
    return AppError(
        f"`{key}` cannot be {show(found)}",
        why=f"{origin} says so. {wanted}",
        hint=f'write `{key} = "{suggested}"`.' if suggested else f"fix `{key}` there.",
        place=file_of(origin),
    )


def almost_host(origin: str, found: str) -> BuildpackError:
    kind = AppError if file_of(origin) else UsageError
    return kind(
        f"there is no stack `{show(found)}`",
        why=f"{origin} says so. As an image's name it would mean docker.io/library/{show(found.lower())}:latest.",
        hint=f"did you mean `host`? If the image is meant, write `{show(found.lower())}:latest`.",
        place=file_of(origin),
    )


def stack_leads_out(origin: str, stack: str, target: str) -> BuildpackError:
    return AppError(
        f"the stack `{show(stack)}` is not in the app's folder",
        why=f"{origin} names it{f', and it leads to {show(target)}' if target else ''}. A relative path in deploy.toml "
        "starts at the app's folder and stays in it, or in visible folders of the same git work tree.",
        hint=f"name the image on the command line: `--stack {show(stack)}`, or by its full path.",
        place=file_of(origin),
    )


def no_name(folder: str) -> BuildpackError:
    return AppError(
        f"the folder's name {show(folder)!r} gives no name for the image",
        why="An image's name holds lower-case letters, digits, `.`, `_` and `-`, and the folder's has none of them.",
        hint='write `name = "..."` into deploy.toml, or rename the folder.',
    )


def bad_variable(origin: str, name: str, reason: str) -> AppError:
    return AppError(
        f"`{show(name)}` cannot be a variable",
        why=f"{origin}: {reason}.",
        hint='it looks like `NAME = "value"`, below `[build.env]`.'
        if origin.startswith("deploy.toml")
        else 'it looks like `"env": {"NAME": "value"}` or `"env": {"NAME": {"value": "value"}}`.',
        place=origin,
    )


def bad_formation(line: int, reason: str) -> AppError:
    return _bad_app_json("the formation", line, reason, hint='it looks like `"formation": {"web": {"quantity": 1}}`.')


def bad_script(line: int, reason: str) -> AppError:
    example = '`"environments": {"test": {"scripts": {"test": "pytest"}, "env": {"NAME": "value"}}}`'
    return _bad_app_json("the test environment", line, reason, hint=f"it looks like {example}.")


def bad_addons(line: int, reason: str) -> AppError:
    example = '`"addons": ["heroku-redis:in-dyno", {"plan": "heroku-postgresql", "as": "DATABASE"}]`'
    return _bad_app_json("the test environment's add-ons", line, reason, hint=f"they look like {example}.")


def _bad_app_json(part: str, line: int, reason: str, *, hint: str) -> AppError:
    place = f"app.json:{line}"
    return AppError(f"{part} in app.json cannot be read", why=f"{place}: {reason}.", hint=hint, place=place)


def app_json_not_read(error: BuildpackError) -> Notice:
    place = error.place or "app.json"
    reason = (error.why or "").partition("\n")[0]
    return Notice(
        what=f"{error.what}, so its formation and variables do not count ({show(reason.removesuffix('.'))})",
        hint="fix it, or remove it.",
        place="" if reason.startswith("app.json:") else place,
    )


def unknown_process(name: str) -> str:
    return f"app.json: the formation names `{show(name)}`, which the Procfile does not have."

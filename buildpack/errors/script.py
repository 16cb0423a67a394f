"""The wording of what is wrong with the script that tests an app."""

from __future__ import annotations

from buildpack.errors import AppError


def bad_script(line: int, told: str) -> AppError:
    """Return the error for a test environment in app.json that cannot be read."""
    example = '`"environments": {"test": {"scripts": {"test": "pytest"}, "env": {"NAME": "value"}}}`'
    return _unreadable("the test environment in app.json cannot be read", line, told, hint=f"it looks like {example}.")


def bad_addons(line: int, told: str) -> AppError:
    """Return the error for an add-on of the test environment in app.json that cannot be read."""
    example = '`"addons": ["heroku-redis:in-dyno", {"plan": "heroku-postgresql", "as": "DATABASE"}]`'
    what = "the add-ons of the test environment in app.json cannot be read"
    return _unreadable(what, line, told, hint=f"they look like {example}.")


def _unreadable(what: str, line: int, told: str, *, hint: str) -> AppError:
    place = f"app.json:{line}"
    return AppError(what, why=f"{place}: {told}.", hint=hint, place=place)

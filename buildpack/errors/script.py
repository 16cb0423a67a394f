"""The wording of what is wrong with the script that tests an app."""

from __future__ import annotations

from buildpack.errors import AppError

__all__ = ["bad_addons", "bad_script"]


def bad_script(line: int, told: str) -> AppError:
    """app.json has a test environment that cannot be."""
    return AppError(
        "the test environment in app.json cannot be read",
        why=f"app.json:{line}: {told}.",
        hint='it looks like `"environments": {"test": {"scripts": {"test": "pytest"}, "env": {"NAME": "value"}}}`.',
        place=f"app.json:{line}",
    )


def bad_addons(line: int, told: str) -> AppError:
    """Say which of the tests' add-ons in app.json cannot be read."""
    return AppError(
        "the add-ons of the test environment in app.json cannot be read",
        why=f"app.json:{line}: {told}.",
        hint='they look like `"addons": ["heroku-redis:in-dyno", {"plan": "heroku-postgresql", "as": "DATABASE"}]`.',
        place=f"app.json:{line}",
    )

"""Print errors, warnings and hints. It imports nothing slow, because an unchanged build prints warnings too."""

from __future__ import annotations

import sys

from deployer.text import harmless, harmless_json, styled

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from buildpack.errors import BuildpackError


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    import json

    print(harmless_json(json.dumps(value, ensure_ascii=False)))


def print_error(error: BuildpackError) -> None:
    """Print what happened, why, and what to do, on standard error."""
    from buildpack.errors import Problems

    problems = error.problems if isinstance(error, Problems) else (error,)
    for number, problem in enumerate(problems):
        if number:
            print(file=sys.stderr)
        parts = [f"{styled('error:', 'red')} {harmless(problem.what)}"]
        if problem.why:
            parts.append(harmless(problem.why))
        if problem.hint:
            parts.append(f"{styled('hint:', 'cyan')} {harmless(problem.hint)}")
        print("\n\n".join(parts), file=sys.stderr)


def print_warning(text: str) -> None:
    """Print a warning on standard error."""
    if (
        "`deploy " in text or " -" in text or "`-" in text
    ) and "click" in sys.modules:  # the warnings of a recorded answer are fitted already
        from deployer.cli.hints import fit_warning

        text = fit_warning(text)
    print(f"{styled('warning:', 'yellow')} {harmless(text)}", file=sys.stderr)


def print_line(text: str) -> None:
    """Print a line that is neither a warning nor an error, on standard error."""
    print(harmless(text), file=sys.stderr)


def print_nothing(_text: str) -> None:
    """Print nothing, for `--quiet`."""


def report_bug(error: BaseException) -> None:
    """Print a traceback, and say that this is a bug in deploy."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    print(f"\n{styled('error:', 'red')} this is a bug in deploy, not in your app", file=sys.stderr)
    print("\nhint: please report it with the lines above; deploy changed none of your files.", file=sys.stderr)

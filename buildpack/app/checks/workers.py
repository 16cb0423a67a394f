"""Read workers' command lines: the module that each imports, and the object that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from buildpack.app.checks import options as grammars
from buildpack.app.checks.commands import Invocation
from buildpack.app.checks.options import parse_options
from buildpack.app.checks.serving import Need, Read, Serving, list_search_folders, read_need


def read_celery(invocation: Invocation, _read: Read) -> Serving | None:
    """Read which app Celery's workers run."""
    named = _values(invocation.arguments, "-A", "--app")
    search = list_search_folders(invocation.folder, (), invocation.variables)
    pools = (read_need(value, "--pool") for value in _values(invocation.arguments, "-P", "--pool"))
    if len(named) != 1:
        return None
    needs = tuple(need for need in pools if need)
    return Serving(server="celery", target=named[0], verb="run", search=search, needs=needs)


def read_dramatiq(invocation: Invocation, _read: Read) -> Serving | None:
    """Read which modules Dramatiq's workers import; only the first may name a broker in it."""
    words = invocation.arguments
    # These two take all words up to the next option.
    lists = [at for at, word in enumerate(words) if word in ("-Q", "--queues", "-P", "--path")]
    options = parse_options(words[: lists[0]] if lists else words, grammars.DRAMATIQ)
    if options is None or not options.operands:
        return None
    moved = not {"-P", "--path"}.isdisjoint(words)
    return Serving(
        server="dramatiq",
        target=options.operands[0],
        verb="run",
        search=None if moved else list_search_folders(invocation.folder, (), invocation.variables),
        needs=tuple(Need(module, module) for module in options.operands[1:] if "$" not in module and not moved),
    )


def read_rq(invocation: Invocation, _read: Read) -> Serving | None:
    """Read which modules the options of RQ's worker name; all that it runs comes from its queues."""
    words = invocation.arguments
    if invocation.program == "rq" and words[:1] not in (("worker",), ("worker-pool",)):
        return None
    moved = _values(words, "-P", "--path")
    needs = [Need(value, f"-c {value}") for value in _values(words, "-c", "--config") if "$" not in value]
    for name in ("worker-class", "job-class", "queue-class", "connection-class", "exception-handler", "serializer"):
        short = {"worker-class": "-w", "job-class": "-j", "serializer": "-S"}.get(name, f"--{name}")
        for value in _values(words, short, f"--{name}"):
            need = read_need(value, f"--{name}") if "." in value else None
            needs += [need] if need else []
    search = list_search_folders(invocation.folder, moved, invocation.variables)
    return Serving(server="rq", verb="run", search=search, needs=tuple(needs) if search is not None else ())


def read_dotted(invocation: Invocation, _read: Read) -> Serving | None:
    """Read what arq's or Huey's worker runs: ``blasto.tasks.WorkerSettings``, ``blasto.tasks.huey``."""
    options = parse_options(invocation.arguments, grammars.ARQ if invocation.program == "arq" else grammars.HUEY)
    if options is None or not options.operands:
        return None
    written = options.operands[0]
    module, _, name = written.rpartition(".")
    return Serving(
        server=invocation.program.removesuffix(".py").rpartition(".")[2],
        target=f"{module}:{name}",
        written=written,
        joint=".",
        verb="run",
        search=list_search_folders(invocation.folder, (), invocation.variables),
    )


def _values(words: Sequence[str], short: str, name: str) -> list[str]:
    """Return the values of an option in a command line whose other options are not known."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return values + [after for word, after in pairwise(words) if word in (short, name)]

"""Asks an engine if it still has the image of an equal build, before any code that builds is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_PATIENCE = 5.0
"""Seconds; an engine that is slower than that is asked again by the build proper, which waits for it."""


def is_loaded(names: Sequence[str], ids: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Tell whether each of these names means one of these images, in hexadecimal, in the engine of the environment.

    In any doubt it does not.
    """
    from urllib.parse import quote

    from buildpack.errors import BuildpackError
    from buildpack.oci.engine_host import find_engine
    from buildpack.oci.engine_http import Connection

    try:
        endpoint = find_engine(environ)
        if endpoint is None:
            return False
        connection = Connection(endpoint, timeout=_PATIENCE)
        try:
            answers = (connection.ask("GET", f"/images/{quote(name, safe='/:@')}/json").object() for name in names)
            return all(str(answer.get("Id", "")).removeprefix("sha256:") in ids for answer in answers)
        finally:
            connection.close()
    except (BuildpackError, OSError):
        return False

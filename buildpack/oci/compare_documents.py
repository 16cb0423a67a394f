"""Compares the JSON documents of two images, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from buildpack.bounded import objects_in, parse_object
from buildpack.dataclass import dataclass

_SHOWN = 300
"""Characters of a path or a value, whose length a hostile image could choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDifference:
    """A value that differs, with its path in a JSON document (``config.Labels.release``); "" if it is absent."""

    path: str
    image: str
    rebuilt: str


def compare_configs(own: bytes, other: bytes, *, same_layers: bool) -> Iterator[ValueDifference]:
    """Yield the values that differ; values that depend on layers only with `same_layers`."""
    if own == other:
        return
    left, right = parse_object(own), parse_object(other)
    if not same_layers:
        # Differences of layers are reported with the layers.
        for config in (left, right):
            config.pop("rootfs", None)
            config.pop("history", None)
    yield from _differing_values(_by_name(left), _by_name(right), "config")


def compare_manifests(own: bytes, other: bytes) -> Iterator[ValueDifference]:
    """Yield the values that differ; of layers, only those that both manifests name."""
    left, right = parse_object(own), parse_object(other)
    layers = [{str(row.get("digest")): row for row in objects_in(each.get("layers"))} for each in (left, right)]
    # Other layers are compared in `compare`.
    shared = {digest: digest.removeprefix("sha256:")[:12] for digest in layers[1] if digest in layers[0]}
    for manifest, rows in zip((left, right), layers, strict=True):
        config = manifest.get("config")
        manifest["config"] = config.get("mediaType") if isinstance(config, dict) else None
        manifest["layers"] = {name: rows[digest] for digest, name in shared.items()}
    yield from _differing_values(left, right, "manifest")


def _by_name(config: dict[str, Any]) -> dict[str, Any]:
    """Turn the list of variables into a mapping, so that each difference has the variable's name."""
    inner = config.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("Env"), list):
        named = dict(str(item).partition("=")[::2] for item in inner["Env"])
        return {**config, "config": {**inner, "Env": named}}
    return config


def _differing_values(own: Any, other: Any, what: str) -> list[ValueDifference]:
    try:
        return list(_compare_values("", own, other))
    except RecursionError:
        return [ValueDifference(path=what, image="values nested too deeply to be compared", rebuilt="")]


def _compare_values(path: str, own: Any, other: Any) -> Iterator[ValueDifference]:
    if own == other:
        return
    if isinstance(own, Mapping) and isinstance(other, Mapping):
        for name in sorted({*own, *other}, key=str):
            yield from _compare_values(f"{path}.{name}" if path else str(name), own.get(name), other.get(name))
    elif isinstance(own, list) and isinstance(other, list) and len(own) == len(other):
        for number, pair in enumerate(zip(own, other, strict=True)):
            yield from _compare_values(f"{path}[{number}]", *pair)
    else:
        yield ValueDifference(path=shorten(path), image=_shown(own), rebuilt=_shown(other))


def _shown(value: object) -> str:
    if value is None:
        return ""
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def shorten(text: str) -> str:
    """Return the text with escapes for characters that terminals cannot print, cut if it is too long."""
    plain = text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."

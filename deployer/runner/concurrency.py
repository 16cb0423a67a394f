"""Compute how many workers a web process should have: Heroku's WEB_CONCURRENCY, from the kernel's limits.

Heroku reads the memory limit of cgroup v1; this reads v1 and v2, memory and processor time, at
every level between the process and the root, since the tightest one counts.
"""

from __future__ import annotations

import os

_MEGABYTE = 1 << 20
_WORKER_MEGABYTES = 256
# The kernel prints 2^63 less a page for "no limit" in cgroup v1; Heroku ignores all above 1 TB.
_UNLIMITED = 1 << 40
_WITHOUT_LIMIT = 2


def web_concurrency(root: str = "/", cpus: int | None = None) -> int:
    """Return ``min(max(1, MB // 256), 2 * cores + 1)``, or 2 if memory has no limit.

    `root` is the folder that holds ``proc`` and ``sys``; `cpus` are the processors the scheduler may
    use, by default this process's affinity.
    """
    groups = _own_groups(root)
    memory = _memory_limit(groups)
    if memory is None:
        return _WITHOUT_LIMIT
    cores = min(cpus or _affinity(), _cpu_limit(groups))
    return int(min(max(1, memory // _MEGABYTE // _WORKER_MEGABYTES), 2 * cores + 1))


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _own_groups(root: str) -> dict[str, list[str]]:
    """Return the folders of this process's control groups, the innermost first.

    The keys are ``memory`` and ``cpu`` for v1, the empty string for v2. A container without a cgroup
    namespace sees the host's path in /proc and its own files at the mount's root, so a folder that is
    missing counts as an ancestor without a limit.
    """
    groups: dict[str, list[str]] = {}
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        parts = [part for part in path.split("/") if part not in {"", ".."}]
        for name in controllers.split(","):
            if name not in {"", "memory", "cpu"}:
                continue
            mounts = (
                [f"{root}/sys/fs/cgroup"] if not name else [f"{root}/sys/fs/cgroup/{m}" for m in {name, controllers}]
            )
            groups[name] = [
                "/".join([mount, *parts[:depth]]) for depth in range(len(parts), -1, -1) for mount in mounts
            ]
    return groups


def _memory_limit(groups: dict[str, list[str]]) -> int | None:
    files = [f"{folder}/{name}" for folder in groups.get("", ()) for name in ("memory.max", "memory.high")]
    files += [f"{folder}/memory.limit_in_bytes" for folder in groups.get("memory", ())]
    limits = [int(text) for text in map(_read, files) if text.isdigit()]
    return min((limit for limit in limits if limit < _UNLIMITED), default=None)


def _cpu_limit(groups: dict[str, list[str]]) -> float:
    """Return the number of cores that the quotas allow, rounded up: half a core still runs one thread."""
    quotas = [_read(f"{folder}/cpu.max").split() for folder in groups.get("", ())]
    quotas += [
        [_read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us")] for folder in groups.get("cpu", ())
    ]
    cores = [
        -(-int(pair[0]) // int(pair[1]))
        for pair in quotas
        if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() and int(pair[1])
    ]
    return max(1, min(cores)) if cores else float("inf")


def _read(file: str) -> str:
    try:
        with open(file, encoding="ascii", errors="replace") as text:  # noqa: PTH123
            return text.read().strip()
    except OSError:
        return ""

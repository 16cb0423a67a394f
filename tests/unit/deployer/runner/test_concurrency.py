"""WEB_CONCURRENCY from faked trees of /proc and /sys."""

from __future__ import annotations

import pytest

from deployer.runner.concurrency import web_concurrency

GB = 1 << 30
V2 = {"proc/self/cgroup": "0::/\n"}


def tree(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return str(folder)


@pytest.mark.parametrize(
    ("megabytes", "cpus", "workers"),
    [(128, 2, 1), (256, 2, 1), (511, 2, 1), (512, 2, 2), (1024, 8, 4), (2560, 8, 10), (14336, 8, 17), (1024, 1, 3)],
)
def test_herokus_formula(tmp_path, megabytes, cpus, workers):
    root = tree(tmp_path, {**V2, "sys/fs/cgroup/memory.max": megabytes << 20})
    assert web_concurrency(root, cpus=cpus) == workers


def test_without_a_limit_it_is_two(tmp_path):
    assert web_concurrency(tree(tmp_path / "v2", {**V2, "sys/fs/cgroup/memory.max": "max"}), cpus=16) == 2
    assert web_concurrency(str(tmp_path / "nothing"), cpus=16) == 2
    root = tree(
        tmp_path / "v1",
        {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712},
    )
    assert web_concurrency(root, cpus=16) == 2


@pytest.mark.parametrize(
    ("cpu_max", "workers"), [("max 100000", 17), ("100000 100000", 3), ("150000 100000", 5), ("50000 100000", 3)]
)
def test_v2_processor_quota(tmp_path, cpu_max, workers):
    root = tree(tmp_path, {**V2, "sys/fs/cgroup/memory.max": 64 * GB, "sys/fs/cgroup/cpu.max": cpu_max})
    assert web_concurrency(root, cpus=8) == workers


def test_v2_high_counts_as_max_does(tmp_path):
    root = tree(tmp_path, {**V2, "sys/fs/cgroup/memory.max": 4 * GB, "sys/fs/cgroup/memory.high": GB})
    assert web_concurrency(root, cpus=8) == 4


def test_the_tightest_ancestor_counts(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/memory.max": GB,
            "sys/fs/cgroup/pod/container/memory.max": 4 * GB,
            "sys/fs/cgroup/pod/container/cpu.max": "max 100000",
            "sys/fs/cgroup/cpu.max": "100000 100000",
        },
    )
    assert web_concurrency(root, cpus=8) == 3


@pytest.mark.parametrize("cpu", ["cpu", "cpu,cpuacct"])
def test_v1(tmp_path, cpu):
    root = tree(
        tmp_path,
        {
            # As Docker has it: the host's path, and the container's own files at the mount's root.
            "proc/self/cgroup": f"11:memory:/docker/4f\n3:{'cpu,cpuacct'}:/docker/4f\n1:name=systemd:/docker/4f\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 8 * GB,
            f"sys/fs/cgroup/{cpu}/cpu.cfs_quota_us": 200000,
            f"sys/fs/cgroup/{cpu}/cpu.cfs_period_us": 100000,
        },
    )
    assert web_concurrency(root, cpus=16) == 5


def test_v1_without_a_quota(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "2:memory:/\n3:cpu:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 8 * GB,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
        },
    )
    assert web_concurrency(root, cpus=4) == 9


def test_a_path_outside_the_namespace(tmp_path):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": GB})
    assert web_concurrency(root, cpus=8) == 4


def test_limits_above_a_terabyte_are_ignored(tmp_path):
    assert web_concurrency(tree(tmp_path, {**V2, "sys/fs/cgroup/memory.max": 1 << 40}), cpus=8) == 2
    assert web_concurrency(tree(tmp_path, {**V2, "sys/fs/cgroup/memory.max": (1 << 40) - 1}), cpus=8) == 17

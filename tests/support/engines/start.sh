#!/bin/bash
# start.sh KIND ROOT STATE: run an engine from the root file system ROOT (root.sh makes it) until this process is killed.
#
# KIND is `containerd` (Docker, images in containerd, cgroup v2 without a memory controller), `podman`, or `noexec`
# (Docker whose runtime, STATE/noexec/runtime, runs no second command in a container). The engine answers on STATE/KIND/engine.sock, and what it keeps is in STATE/KIND. It has mount, process, network and control
# group namespaces of its own: when this process is killed, all of it is gone. The ports that it publishes answer inside:
# `nsenter --net --target $(cat STATE/KIND/pid) curl ...`.
set -euo pipefail
unset TMPDIR
kind=$1 root=$(readlink -f "$2") state=$3/$1
mkdir -p "$state/data" "$state/tmp"
state=$(readlink -f "$state")
docker() { # FEATURES: more settings
    cat >"$state/daemon.json" <<J
{"data-root": "/ext/data", "exec-root": "/run/docker", "pidfile": "/run/docker.pid",
 "hosts": ["unix:///ext/engine.sock"], "iptables": false, "ip6tables": false, $1}
J
    command=(dockerd --config-file /ext/daemon.json)
}
case $kind in
containerd)
    docker '"features": {"containerd-snapshotter": true}'
    ;;
noexec)
    docker '"features": {"containerd-snapshotter": false}, "runtimes": {"noexec": {"path": "/ext/runtime"}},
 "default-runtime": "noexec"'
    cat >"$state/runtime" <<'R'
#!/bin/sh
for word; do [ "$word" != exec ] || { echo "exec failed: this runtime has none" >&2 && exit 1; }; done
exec runc "$@"
R
    chmod +x "$state/runtime"
    ;;
podman)
    printf '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
        >"$state/containers.conf"
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\ngraphroot = "/ext/data"\n' >"$state/storage.conf"
    command=(env TMPDIR=/ext/tmp CONTAINERS_CONF=/ext/containers.conf CONTAINERS_STORAGE_CONF=/ext/storage.conf
        podman system service --time=0 unix:///ext/engine.sock)
    ;;
*) echo "unknown kind: $kind" >&2 && exit 2 ;;
esac
spaces=(--mount --net --pid --uts --ipc)
if [ "$kind" = containerd ]; then
    # A control group below one that hands on no controllers has none, whatever this machine has.
    group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/deploy-tests/engine
    mkdir -p "$group"
    echo $BASHPID >"$group/cgroup.procs"
    spaces+=(--cgroup)
fi
exec unshare "${spaces[@]}" --fork --kill-child \
    bash "$(dirname "$(readlink -f "$0")")/inner.sh" "$kind" "$root" "$state" "${command[@]}"

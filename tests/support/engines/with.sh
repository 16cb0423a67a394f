#!/bin/bash
# with.sh COMMAND...: run a command with today's Docker and Podman (start.sh says which) beside this machine's own.
# DEPLOY_TEST_ENGINES tells the command where they answer.
#
# The command begins at once. The root file system that holds the engines is made meanwhile, in 20 seconds, or kept in
# /var/cache/deploy-tests if that folder is there. Needs root, mmdebstrap and Debian's mirrors.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
state=$(mktemp -d /tmp/deploy-engines.XXXXXX)
root=$state/root
cache=/var/cache/deploy-tests
[ ! -d "$cache" ] || root=$cache/$(sha256sum <"$here/root.sh" | cut -c1-12)

kinds="containerd podman noexec"

begin() {
    "$here/root.sh" "$root" || { touch "$state/failed" && return; }
    for kind in $kinds; do
        "$here/start.sh" "$kind" "$root" "$state" >"$state/$kind.log" 2>&1 &
    done
    wait
}

end() {
    # The engines ignore TERM, and end with the first process of their namespaces.
    kill -TERM -- "-$begun" 2>/dev/null || true
    for pid in "$state"/*/pid; do
        [ ! -s "$pid" ] || kill -KILL "$(cat "$pid")" 2>/dev/null || true
    done
    # mmdebstrap cleans up first.
    for _ in $(seq 100); do
        kill -0 -- "-$begun" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$begun" 2>/dev/null || true
    rm -rf --one-file-system "$state"
}

set -m # a process group of its own for what runs in the background
begin >"$state/log" 2>&1 </dev/null &
begun=$!
set +m
trap end EXIT
DEPLOY_TEST_ENGINES=$(for kind in $kinds; do echo "$kind=unix://$state/$kind/engine.sock"; done)
export DEPLOY_TEST_ENGINES
"$@"

#!/bin/bash
# root.sh DIR: make a root file system in DIR that holds today's Docker and Podman, from Debian's mirrors.
#
# The packages are unpacked and not configured, which takes 20 seconds; nothing in there needs more. A folder that is
# there is complete: it gets its name last.
set -euo pipefail
unset TMPDIR
root=$1
[ ! -d "$root" ] || exit 0
mkdir -p "$(dirname "$root")"
part=$(mktemp -d "$root.XXXXXX")
trap 'rm -rf --one-file-system "$part"' EXIT
# A mirror that lags behind gives lists that have expired.
mmdebstrap --quiet --variant=extract --mode=root \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
    --include=base-files,dash,bash,coreutils,mount,iproute2,docker.io,containerd,runc,podman,crun,conmon,netavark,nftables \
    sid "$part"
mkdir -p "$part/ext"
# Packages that nobody configured leave no users.
echo 'root:x:0:0:root:/root:/bin/sh' >"$part/etc/passwd"
echo 'root:x:0:' >"$part/etc/group"
chmod 755 "$part"
# Two that begin at once make the same: the second finds the first one's.
mv -T "$part" "$root" 2>/dev/null || [ -d "$root" ]

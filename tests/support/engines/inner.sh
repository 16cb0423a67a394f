#!/bin/bash
# inner.sh KIND ROOT STATE COMMAND...: the part of start.sh inside the namespaces; runs COMMAND in ROOT.
set -euo pipefail
kind=$1 root=$2 state=$3
shift 3
# As this machine counts: /proc is still its own.
awk '/^PPid/ { print $2 }' /proc/self/status >"$state/pid"
mount --make-rprivate /
# runc's pivot_root needs a root that is a mount point. Nobody writes to it: several engines share it.
mount --bind "$root" "$root"
mount --bind "$state" "$root/ext"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ "$kind" = containerd ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
    # crun refuses version 1 with version 2 beside it ("cgroups in hybrid mode not supported").
    [ ! -d "$root/sys/fs/cgroup/unified" ] || umount "$root/sys/fs/cgroup/unified"
fi
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/var"
mkdir -p "$root/var/lib" "$root/var/tmp"
ln -s /run "$root/var/run"
mount -t tmpfs -o mode=755 tmpfs "$root/root"
mount -o remount,ro,bind "$root"
# Not chroot: runc and crun find a container's root for `exec` through the root of the mount namespace, which chroot
# leaves where it was ("exec failed: chdir to cwd (/app) ... no such file or directory").
cd "$root"
pivot_root . root
cd /
umount -l /root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ip link set lo up
exec "$@"

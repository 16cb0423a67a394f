"""Gathers this machine's files for the layers of the host stack: the operating system's, and those that callers name.

The operating system's are the loader, libraries, shell, certificates, time zones and accounts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from buildpack.app.checks.programs import HOST_PROGRAMS
from buildpack.dataclass import dataclass, field
from buildpack.oci.entry import Entry, FileSlice, Inline, directory, file, symlink
from buildpack.system.elf import relocate, strip

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = (
    "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"SSL_CERT_FILE={CERTIFICATES}",
)

SONAMES = (
    *("libgcc_s.so.1", "libstdc++.so.6"),
    # The libraries of glibc that PEP 513 and its successors allow a wheel to need; some are only stubs today.
    *("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libutil.so.1", "libpthread.so.0", "libresolv.so.2"),
    *("libanl.so.1", "libnsl.so.1", "libcrypt.so.1", "libz.so.1", "libexpat.so.1"),
    # The resolver opens these by name; newer glibc holds them itself.
    *("libnss_files.so.2", "libnss_dns.so.2"),
)
"""Libraries of each host stack, if this machine has them."""

_PROGRAM_FOLDERS = ("/usr/bin", "/bin")

_TERMINALS = ("a/ansi", "d/dumb", "l/linux", "s/screen", "s/screen-256color", "t/tmux-256color", "v/vt100", "x/xterm",
              "x/xterm-256color")  # fmt: skip
_TERMINAL_FOLDERS = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo")
_LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
_ZONES = Path("/usr/share/zoneinfo")
# `localtime` links to this machine's own zone; `posix` and `right` repeat all others.
_NO_ZONES = frozenset({"localtime", "posix", "posixrules", "right", "+VERSION"})

_ACCOUNTS = (
    "root:x:0:0:root:/root:{shell}\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    "app:x:1000:1000:app:/app:{shell}\n"
)
GROUP = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\n"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_PROTOCOLS = "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\nipv6-icmp 58 IPv6-ICMP\n"
_SERVICES = (
    "ftp 21/tcp\nssh 22/tcp\nsmtp 25/tcp mail\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nntp 123/udp\n"
    "imap2 143/tcp imap\nldap 389/tcp\nhttps 443/tcp\nhttps 443/udp\nsubmission 587/tcp\nldaps 636/tcp\n"
    "imaps 993/tcp\nmysql 3306/tcp\npostgresql 5432/tcp postgres\namqp 5672/tcp\nredis 6379/tcp\n"
)
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def merged(path: str) -> str:
    """Return an absolute path's place in the image, in which ``/bin``, ``/sbin`` and ``/lib*`` link into ``/usr``."""
    parts = [part for part in path.split("/") if part]
    return "/".join(["usr", *parts] if parts[0] in _MERGED else parts)


def identify(entries: Iterable[Entry], *parts: str) -> str:
    """Return a hash of these entries and their contents, which takes much less time than writing a layer."""
    found = hashlib.sha256(repr(parts).encode())
    for entry in entries:
        content = hashlib.sha256()
        if isinstance(entry.content, Inline):
            content.update(entry.content.body)
        elif isinstance(entry.content, FileSlice):
            with entry.content.path.open("rb") as source:
                source.seek(entry.content.offset)
                content.update(source.read(entry.content.size))
        row = (entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, entry.target)
        found.update(repr((*row, content.hexdigest())).encode())
    return found.hexdigest()


@dataclass(slots=True)
class HostFiles:
    """The gathered entries by path, the first of each counts; `witnesses` are the files and folders they came from."""

    prefixes: tuple[str, ...] = ()
    """This machine's folders in programs that ``/usr/local`` replaces, the longest first."""
    entries: dict[str, Entry] = field(default_factory=dict)
    witnesses: set[str] = field(default_factory=set)
    programs: list[Path] = field(default_factory=list)
    """ELF files gathered so far, whose shared libraries the image needs too."""

    def put(self, entries: Iterable[Entry]) -> None:
        """Add entries that are not copies of files."""
        for entry in entries:
            self.entries.setdefault(entry.path, entry)

    def text(self, path: str) -> str:
        """Return the content of a file that `put` added."""
        content = self.entries[path].content
        assert isinstance(content, Inline)
        return content.body.decode()

    def sources(self) -> set[str]:
        """Return the files of this machine that the entries are copies of."""
        copied = (entry.content.path for entry in self.entries.values() if isinstance(entry.content, FileSlice))
        return {str(path) for path in (*copied, *self.programs)}

    def take_file(self, path: str, source: Path, *, executable: bool = False) -> None:
        """Add a copy of this file."""
        self.witnesses.add(str(source))
        content = FileSlice(path=source, size=source.stat().st_size)
        self.put([file(path, content, executable=executable)])

    def take_elf(self, path: str, source: Path, *, executable: bool = False) -> None:
        """Add a program or shared library, without debugging information and without the build's prefix."""
        body = source.read_bytes()
        self.witnesses.add(str(source))
        self.programs.append(source)
        lean = strip(body)
        for prefix in self.prefixes:
            lean = relocate(lean, prefix, "/usr/local")
        content = FileSlice(path=source, size=len(body)) if lean is body or lean == body else Inline(lean)
        self.put([file(path, content, executable=executable)])

    def take_program(self, found: str) -> None:
        """Add the program at this absolute path; if it is a link, the link as well."""
        real = os.path.realpath(found)
        self.witnesses.update((found, real))
        home = merged(real)
        if home not in self.entries:
            self.take_elf(home, Path(real), executable=True)
        if merged(found) != home:
            self.put([symlink(merged(found), "/" + home)])

    def take_tree(self, folder: Path, path: str, *, skip: frozenset[str] = frozenset(), root: str = "") -> None:
        """Add a folder's files, and the links that stay inside `root`, by default the folder.

        Names in `skip` are left out at any depth.
        """
        root = root or os.path.realpath(folder)
        self.witnesses.add(str(folder))
        with os.scandir(folder) as listing:
            found = sorted((entry for entry in listing if entry.name not in skip), key=lambda entry: entry.name)
        for entry in found:
            inside = f"{path}/{entry.name}"
            if entry.is_symlink():
                target = str(Path(entry.path).readlink())
                if os.path.realpath(entry.path).startswith(root + "/") and not target.startswith("/"):
                    self.put([symlink(inside, target)])
            elif entry.is_dir():
                self.take_tree(Path(entry.path), inside, skip=skip, root=root)
            elif entry.is_file():
                content = FileSlice(path=Path(entry.path), size=entry.stat().st_size)
                self.put([file(inside, content)])


# The operating system


def gather_system(gathered: HostFiles, *, loader: str, certificates: Path, cafile: str) -> None:
    """Gather all files except libraries; `loader` is the path that programs name, `cafile` OpenSSL's default."""
    _gather_skeleton(gathered)
    real_loader = Path(os.path.realpath(loader))
    gathered.take_file(merged(loader), real_loader, executable=True)
    for name in HOST_PROGRAMS:
        if found := _first(f"{folder}/{name}" for folder in _PROGRAM_FOLDERS):
            gathered.take_program(found)
        else:
            gathered.witnesses.add(f"/usr/bin/{name}")
    gathered.take_file(CERTIFICATES.lstrip("/"), certificates)
    if cafile.startswith(("/usr/", "/etc/")) and cafile != CERTIFICATES:
        gathered.put([symlink(merged(cafile), CERTIFICATES)])
    for terminal in _TERMINALS:
        if found := _first(f"{folder}/{terminal}" for folder in _TERMINAL_FOLDERS):
            gathered.take_file(merged(found), Path(os.path.realpath(found)))
    for locale in _LOCALES:
        if os.path.isdir(locale):
            gathered.take_tree(Path(locale), merged(locale))
    gathered.witnesses.add(str(_ZONES))
    if os.path.isdir(_ZONES):
        gathered.take_tree(_ZONES, merged(str(_ZONES)), skip=_NO_ZONES)
        gathered.put([symlink("etc/localtime", "../usr/share/zoneinfo/Etc/UTC")])
    if release := _first(("/usr/lib/os-release", "/etc/os-release")):
        gathered.take_file("usr/lib/os-release", Path(os.path.realpath(release)))
        gathered.put([symlink("etc/os-release", "../usr/lib/os-release")])
    shell = "/bin/bash" if "usr/bin/bash" in gathered.entries else "/bin/sh"
    gathered.put([file("etc/passwd", _ACCOUNTS.format(shell=shell).encode())])


def gather_libraries(gathered: HostFiles, folder: str, found: Iterable[tuple[str, Path]]) -> None:
    """Gather shared libraries into the loader's default `folder`, each under its soname."""
    for soname, path in found:
        gathered.take_elf(f"{folder}/{Path(soname).name}", Path(os.path.realpath(path)))
        gathered.witnesses.add(str(path))


def _gather_skeleton(gathered: HostFiles) -> None:
    for name in ("bin", "lib", "lib64", "sbin"):
        gathered.put([symlink(name, f"usr/{name}"), directory(f"usr/{name}")])
    for name in ("dev", "proc", "run", "sys", "etc", "home", "opt", "var"):
        gathered.put([directory(name)])
    gathered.put([directory("root", mode=0o700), directory("tmp", mode=0o1777), directory("var/tmp", mode=0o1777)])
    texts = {
        "group": GROUP,
        "hosts": _HOSTS,
        "nsswitch.conf": _NSSWITCH,
        "protocols": _PROTOCOLS,
        "services": _SERVICES,
        "timezone": "Etc/UTC\n",
    }
    gathered.put(file(f"etc/{name}", text.encode()) for name, text in texts.items())


def _first(paths: Iterable[str]) -> str | None:
    return next((path for path in paths if os.path.exists(path)), None)

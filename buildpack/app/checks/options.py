"""Parse the command lines of the servers that Procfiles start; the tables list the options that take a value.

The parser gives up at an option that is in no table: the checks then report nothing, rather than something wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.dataclass import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """A program's options: `values` take one, `flags` none; `short` gives the long name of a short one."""

    values: frozenset[str]
    flags: frozenset[str]
    short: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Parsed options: each option's values in order, by its long name, and the remaining words."""

    values: Mapping[str, Sequence[str]]
    operands: tuple[str, ...]

    def last(self, name: str) -> str | None:
        """Return the last value, which counts; None if the option is missing."""
        return self.values[name][-1] if self.values.get(name) else None

    def has(self, *names: str) -> bool:
        """Return True if one of the options is there, with or without a value."""
        return not self.values.keys().isdisjoint(names)


def parse_options(arguments: Sequence[str], grammar: Grammar, *, until_operand: bool = False) -> Options | None:
    """Read a command line; None if an option is not known, or lacks its value.

    With `until_operand` the first operand and all words after it are the operands: a command with its own options.
    """
    values: dict[str, list[str]] = {}
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            operands += rest
            break
        if not word.startswith("-") or word == "-":
            operands.append(word)
            if until_operand:
                operands += rest
                break
            continue
        name, value = _name(word, grammar)
        if name in grammar.flags and value is None:
            values.setdefault(name, [])
            continue
        if name not in grammar.values or (value is None and not rest):
            return None
        values.setdefault(name, []).append(rest.pop(0) if value is None else value)
    return Options(values=values, operands=tuple(operands))


def _name(word: str, grammar: Grammar) -> tuple[str, str | None]:
    """Split an option into its long name and the value in the same word."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    name = grammar.short.get(word[:2], word[:2])
    return name, word[2:].removeprefix("=") or None


def _grammar(values: str, flags: str, **short: str) -> Grammar:
    """Return the grammar of these long options; a flag may have an opposite (``--no-reload``)."""
    return Grammar(
        values=frozenset(f"--{name}" for name in values.split()),
        flags=frozenset(f"--{no}{name}" for name in flags.split() for no in ("", "no-")),
        short={f"-{letter}": f"--{name}" for letter, name in short.items()},
    )


GUNICORN = _grammar(
    # gunicorn/config.py, versions 19 to 27
    """
    config bind backlog workers worker-class threads worker-connections max-requests max-requests-jitter timeout
    graceful-timeout keep-alive limit-request-line limit-request-fields limit-request-field_size reload-engine
    reload-extra-file chdir env pid worker-tmp-dir user group umask forwarded-allow-ips access-logfile access-logformat
    error-logfile log-file log-level logger-class log-config log-config-json log-syslog-to log-syslog-prefix
    log-syslog-facility statsd-host dogstatsd-tags statsd-prefix name pythonpath paste paster proxy-allow-from protocol
    uwsgi-allow-from keyfile certfile ssl-version cert-reqs ca-certs ciphers http-protocols http2-cleartext
    http2-max-concurrent-streams http2-initial-window-size http2-max-frame-size http2-max-header-list-size paste-global
    forwarder-headers header-map asgi-loop asgi-lifespan asgi-disconnect-grace-period websocket-max-message-size
    http-parser root-path dirty-app dirty-workers dirty-timeout dirty-threads dirty-graceful-timeout control-socket
    control-socket-mode
    """,
    """
    reload spew check-config print-config preload reuse-port daemon initgroups disable-redirect-access-to-syslog
    capture-output log-syslog enable-stdio-inheritance enable-backlog-metric suppress-ragged-eofs
    do-handshake-on-connect permit-obsolete-folding strip-header-spaces permit-unconventional-http-method
    permit-unconventional-http-version casefold-http-method no-control-socket no-sendfile
    """,
    c="config", b="bind", w="workers", k="worker-class", t="timeout", e="env", p="pid", u="user", g="group",
    m="umask", n="name", D="daemon", R="enable-stdio-inheritance",
)  # fmt: skip

UVICORN = _grammar(
    """
    host port uds fd reload-dir reload-include reload-exclude reload-delay workers loop http ws ws-max-size
    ws-max-queue ws-ping-interval ws-ping-timeout ws-per-message-deflate lifespan interface env-file log-config
    log-level forwarded-allow-ips root-path limit-concurrency backlog limit-max-requests limit-max-requests-jitter
    timeout-keep-alive timeout-graceful-shutdown timeout-worker-healthcheck ssl-keyfile ssl-certfile
    ssl-keyfile-password ssl-version ssl-cert-reqs ssl-ca-certs ssl-ciphers header app-dir
    h11-max-incomplete-event-size
    """,
    """
    reload http2 access-log use-colors proxy-headers server-header date-header reset-contextvars factory
    """,
)

HYPERCORN = _grammar(
    """
    access-log access-logfile access-logformat backlog bind ca-certs certfile cert-reqs ciphers config error-log
    error-logfile log-file graceful-timeout read-timeout max-requests max-requests-jitter group worker-class keep-alive
    keyfile keyfile-password insecure-bind log-config log-level pid quic-bind root-path server-name statsd-host
    statsd-prefix umask user verify-mode websocket-ping-interval workers
    """,
    "daemon debug reload",
    b="bind", c="config", D="daemon", g="group", k="worker-class", p="pid", m="umask", u="user", w="workers",
)  # fmt: skip

DAPHNE = _grammar(
    """
    port bind websocket_timeout websocket_connect_timeout unix-socket fd endpoint verbosity http-timeout access-log
    log-fmt ping-interval ping-timeout websocket-max-message-size websocket-max-frame-size application-close-timeout
    root-path proxy-headers-host proxy-headers-port server-name
    """,
    "proxy-headers no-server-name",
    p="port", b="bind", u="unix-socket", e="endpoint", v="verbosity", t="http-timeout", s="server-name",
)  # fmt: skip

WAITRESS = _grammar(
    """
    app host port listen unix-socket unix-socket-perms url-scheme url-prefix ident threads trusted-proxy
    trusted-proxy-count trusted-proxy-headers connection-limit channel-timeout max-request-header-size
    max-request-body-size cleanup-interval asyncore-loop-timeout outbuf-overflow outbuf-high-watermark inbuf-overflow
    recv-bytes send-bytes backlog
    """,
    """
    call ipv4 ipv6 log-socket-errors log-untrusted-proxy-headers clear-untrusted-proxy-headers expose-tracebacks
    asyncore-use-poll
    """,
)

FLASK = _grammar(
    "app env-file host port cert key extra-files exclude-patterns",
    "debug reload debugger with-threads without-threads",
    A="app", e="env-file", h="host", p="port",
)  # fmt: skip

GRANIAN = _grammar(
    # granian/cli.py, versions 1 to 2.5
    """
    host port uds uds-permissions interface http workers threads blocking-threads blocking-threads-idle-timeout
    threading-mode runtime-threads runtime-blocking-threads runtime-mode loop task-impl backlog backpressure
    http1-buffer-size http1-header-read-timeout http2-initial-connection-window-size
    http2-initial-stream-window-size http2-keep-alive-interval http2-keep-alive-timeout
    http2-max-concurrent-streams http2-max-frame-size http2-max-headers-size http2-max-send-buffer-size log-level
    log-config access-log-fmt ssl-certificate ssl-keyfile ssl-keyfile-password ssl-protocol-min ssl-ca ssl-crl
    url-path-prefix respawn-interval workers-lifetime workers-kill-timeout workers-graceful-timeout workers-max-rss
    rss-sample-interval rss-samples static-path-route static-path-mount static-path-expires process-name pid-file
    working-dir env-files metrics-address metrics-port metrics-scrape-interval
    """,
    """
    ws opt http1-keep-alive http1-pipeline-flush http2-adaptive-window log access-log ssl-client-verify
    respawn-failed-workers factory metrics
    """,
)

DRAMATIQ = _grammar(
    "processes threads pid-file log-file watch include exclude worker-shutdown-timeout fork-function",
    "verbose skip-logging use-spawn watch-use-polling",
    p="processes", t="threads", f="fork-function", i="include", x="exclude", v="verbose",
)  # fmt: skip

ARQ = _grammar("watch custom-log-dict", "burst check verbose", v="verbose")

HUEY = _grammar(
    """
    workers worker-type delay max-delay backoff health-check-interval max-tasks max-tasks-jitter scheduler-interval
    logfile extra-locks health_check_interval max_tasks max_tasks_jitter extra_locks
    """,
    "disable_health_check flush_locks disable-health-check no-periodic utc localtime verbose quiet simple flush-locks",
    w="workers", k="worker-type", d="delay", m="max-delay", b="backoff", c="health-check-interval",
    C="disable-health-check", t="max-tasks", j="max-tasks-jitter", s="scheduler-interval", n="no-periodic", u="utc",
    o="localtime", l="logfile", v="verbose", q="quiet", S="simple", f="flush-locks", L="extra-locks",
)  # fmt: skip

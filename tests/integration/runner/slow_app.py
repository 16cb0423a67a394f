"""A WSGI app for the runner's tests: `/SECONDS` answers after that long, and records what began and ended."""

import os
import time


def record(what: str) -> None:
    """Append a whole line, also if other processes append at the same time."""
    file = os.environ.get("REQUEST_RECORD")
    if file:
        fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{what}\n".encode())
        os.close(fd)


def app(environ, start_response):
    """Sleep as long as the path says, then answer with it."""
    path = environ["PATH_INFO"].strip("/")
    name = environ["QUERY_STRING"]
    record(f"began {name}")
    time.sleep(float(path or 0))
    body = f"slept {path}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    record(f"ended {name}")
    return [body]

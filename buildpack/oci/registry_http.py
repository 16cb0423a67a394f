"""Sends requests to one repository of a registry: logs in, waits, tries again, and explains refusals.

Paths and codes are those of the distribution specification 1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

from buildpack.bounded import join_url, origin_of
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.oci.reference import Reference
from buildpack.oci.registry_tokens import Access, Authorizer
from buildpack.oci.transport import Body, Transport

if TYPE_CHECKING:
    from buildpack.net.http1 import Response

_PULL = frozenset({"pull"})
_PUSH = frozenset({"pull", "push"})


class RepositoryClient:
    """Sends requests to one repository. With `writes`, even the first token allows a push."""

    def __init__(self, reference: Reference, transport: Transport, *, writes: bool = False) -> None:
        self.reference = reference
        self.transport = transport
        self.origin = str(reference)
        self._writes = writes
        self._root = transport.base(reference)
        self._base = f"{self._root}/v2/{reference.repository}"
        self._authorizer = transport.keyring(reference.registry, lambda: Authorizer(transport, reference))

    @property
    def around(self) -> bool:
        """True if this registry only serves the base image, so that messages may suggest `--stack host`."""
        return not self._writes and self.reference.registry not in self.transport.own

    def url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return the address of a path below the repository."""
        return self._base + path + (f"?{urlencode(query, safe=':')}" if query else "")

    def located(self, response: Response) -> str | None:
        """Return a response's Location as an absolute URL; None if it has none, or one that gives up TLS."""
        target = response.headers.get("Location", "")
        return self.resolved(response.url, target) if target else None

    def resolved(self, base: str, target: str) -> str | None:
        """Return a link on the page `base` as an absolute URL; None if it gives up TLS."""
        link = join_url(base, target)
        if link is None:
            return None
        found = urlsplit(link)
        if found.scheme == "http" and self._root.startswith("https:"):
            # A registry behind a proxy that ends TLS may not know that its clients use TLS.
            if found.hostname != urlsplit(self._root).hostname:
                return None
            found = found._replace(scheme="https", netloc=urlsplit(self._root).netloc)
        return urlunsplit(found)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        allowed: frozenset[int] = frozenset(),
        look: bool = False,
    ) -> Response:
        """Send one request until the answer is final; the response's body is not read yet.

        Returns responses with a status below 300 or in `allowed`; raises StackError for others. For `look` see
        `Transport.persist`.
        """
        response, attempts = self.transport.persist(
            lambda: self.exchange(method, url, headers=headers, body=body, look=look), look=look
        )
        if response.status < 300 or response.status in allowed:
            return response
        raise self.refusal(response, attempts=attempts)

    def look_up(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, mounts: str = ""
    ) -> Response | None:
        """Send a request that only saves work; None if no answer came. The response's body is not read yet.

        `mounts` is the repository that a mount reads. Raises nothing: unless the answer is a clear yes, the caller
        uploads.
        """
        try:
            response, _ = self.transport.persist(
                lambda: self.exchange(method, url, headers=headers, mounts=mounts, look=True), look=True
            )
        except StackError:
            return None
        return response

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        mounts: str = "",
        patience: float = 60.0,
        look: bool = False,
    ) -> Response:
        """Send one request, and again only if a login or a new token may help; return the answer, good or bad.

        If a registry refuses an anonymous request without asking for a login, its root is asked which login it wants.
        If the root does not ask for one either, the login from the configuration is sent, once. Raises
        InterruptedRequest if the connection failed for a reason that may pass, else StackError. A `look` does not wait
        for a busy token server.
        """
        needed = self._needed(method, mounts)
        # An upload may go to another host, which must not get our login.
        ours = origin_of(url) == origin_of(self._root)
        for again in (True, False):
            used = self._authorizer.header(needed, look=look) if ours else ""
            sent = {**(headers or {}), **({"Authorization": used} if used else {})}
            response = self.transport.exchange(method, url, headers=sent, body=body, patience=patience)
            challenge = response.headers.get("WWW-Authenticate", "")
            unasked = not challenge and not used and _refuses(response.status, method)
            # Another host, after a redirect, may not choose where the registry's login goes.
            if not (response.status == 401 or unasked) or not ours or not again or self._elsewhere(response):
                break
            if unasked:
                helped = self._authorizer.offer(needed)
            else:
                helped = self._authorizer.answer(challenge, needed, used, look=look)
            if not helped:
                break
            self.transport.finish(response)
        return response

    def refusal(self, response: Response, *, attempts: int = 1, raw: bytes | None = None) -> StackError:
        """Return the error for a refusal, and close the response; `raw` is its body if it was read already."""
        raw = self.transport.finish(response) if raw is None else raw
        answer = self.transport.answer(response, raw)
        host, status = self.reference.host, response.status
        pushing = self._writes or answer.method not in {"GET", "HEAD"}
        if status in {401, 403} and self._elsewhere(response):
            return errors.denied_elsewhere(self.origin, host, answer)
        if status in {401, 403}:
            return self._denial(answer, pushing=pushing)
        around = self.around and not pushing
        if status == 429:
            return errors.busy(host, answer, attempts, around=around)
        if status >= 500 or status in {408, 425}:
            return errors.failed(host, answer, attempts, around=around)
        if "html" in response.headers.get("Content-Type", ""):
            return errors.not_a_registry(host, f"a web page ({status})")
        if status == 404:
            return (errors.manifest_unknown if answer.method == "GET" else errors.nothing_reachable)(
                self.origin, answer
            )
        return errors.refused(self.origin, answer)

    def _elsewhere(self, response: Response) -> bool:
        """Return True if another host answered, such as a store of blobs, which must not get the login."""
        return origin_of(response.url) != origin_of(self._root)

    def _denial(self, answer: errors.Answer, *, pushing: bool) -> StackError:
        authorizer, repository = self._authorizer, self.reference.repository
        login, refusal = authorizer.source(repository), authorizer.refusal(repository)
        unset = tuple(name for name in errors.LOGIN_VARIABLES if not self.transport.environ.get(name, "").strip())
        # A token server that answers 403 accepts the login, but the login has too few rights.
        if login and refusal is not None and refusal.status != 403:
            return errors.login_refused(self.reference.host, refusal, login=login, unset=unset)
        if login and answer.status == 401 and authorizer.basic:
            return errors.login_refused(self.reference.host, answer, login=login, unset=unset)
        return errors.denied(
            self.origin,
            self.reference.registry,
            refusal if login and refusal is not None else answer,
            pushing=pushing,
            login=login,
            notes=authorizer.notes,
            unset=unset,
        )

    def _needed(self, method: str, mounts: str) -> tuple[Access, ...]:
        writes = self._writes or method not in {"GET", "HEAD"}
        needed = Access(repository=self.reference.repository, actions=_PUSH if writes else _PULL)
        return (needed, Access(repository=mounts, actions=_PULL)) if mounts else (needed,)


def _refuses(status: int, method: str) -> bool:
    """Return True if this answer to an anonymous request may ask for a login; Nexus answers 400 to reads."""
    return status in {401, 403} or (status == 400 and method in {"GET", "HEAD"})

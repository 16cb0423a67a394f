"""Asks indexes over HTTP: one pool of connections, logins by origin, and patience with busy servers.

Variables come from the mapping that is passed in, never from the process's environment: `trust_env` of requests, which
reads that and netrc, is off.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlsplit

from buildpack.bounded import join_url, origin_of, parse_integer
from buildpack.errors import DependencyError
from buildpack.errors import python as errors
from buildpack.errors.transfer import why_unanswered
from buildpack.net.pace import ATTEMPTS, LONGEST_WAIT, Pace, is_busy, pause, retry_after
from buildpack.net.secret import Secret
from buildpack.net.sockets import find_proxy
from buildpack.python.credentials import (
    Login,
    SourceUrl,
    netrc_login,
    open_source,
    split_login,
    unreadable_netrc,
    without_secrets,
)

if TYPE_CHECKING:
    import requests

    from buildpack.app.indexes import Source

T = TypeVar("T")

REDIRECTS = 30


class NotFoundError(Exception):
    """The server has no such page (404 or 410): the caller may know another place."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class DeniedError(Exception):
    """The server wants a login, or another one (401 or 403)."""

    def __init__(self, status: int, *, logged_in: bool, unread: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.unread = unread
        self.status = status
        self.logged_in = logged_in

    def explain(self, name: str, url: str, source: str) -> DependencyError:
        """Return the error to show: the server of `url` refused `name`. `source` is as in `errors.denied`."""
        return errors.denied(name, url, self.status, logged_in=self.logged_in, unread=self.unread, source=source)


class CutError(Exception):
    """A body ended early. Its reader raises this, so that the request is made again."""


class Client:
    """Gets URLs from a lock's sources and beyond; owns the connections, which all threads share.

    `environ` supplies the variables in the sources' URLs, proxies, netrc and certificates. A context manager.
    Raises DependencyError for a source that cannot be opened.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        environ: Mapping[str, str],
        *,
        timeout: tuple[float, float] = (10.0, 60.0),
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sources = tuple(open_source(source, environ) for source in sources)
        self._environ = environ
        self._timeout = timeout
        self._sleep = sleep
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._given: dict[str, Login] = {}
        self._written: dict[str, Login] = {}
        self._netrc: dict[str, Login | None] = {}
        self._links: dict[str, Secret] = {}
        self._unverified = {origin_of(source.address.reveal()) for source in self.sources if not source.verify}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All texts that must not be shown, each as it is and as it is quoted in a URL."""
        links = [*self._given.values(), *self._written.values()]
        logins = [source.login for source in self.sources] + [*links, *self._netrc.values()]
        texts: list[str] = []
        for login in filter(None, logins):
            # Without a password the user is a token, so it is a secret.
            texts += [login.password.reveal() or login.user.reveal()]
        return tuple(Secret(each) for text in texts if text for each in dict.fromkeys((text, quote(text, safe=""))))

    def hide(self, link: str, login: Login | None = None) -> str:
        """Return a link's form without secrets, and remember login, signature and variables for `get` on this client.

        `login` is the user's for this link. A login inside `link` comes from the index: only this link gets it, and
        only if the user configured none for the host.
        """
        url, written = split_login(link)
        asked = shown = without_secrets(url)
        for source in self.sources:
            shown = source.veil(shown)
        if login is not None:
            self._given[shown] = login
        elif written is not None:
            self._written[shown] = written
        if urlsplit(url).query or shown != asked:
            self._links[shown] = Secret(url)
        return shown

    def _address(self, shown: str) -> str:
        """Return the real address of a link that `hide` returned."""
        found = self._links.get(shown) or next(filter(None, (each.reveal(shown) for each in self.sources)), None)
        return found.reveal() if found else shown

    def get(
        self,
        url: str,
        consume: Callable[[requests.Response], T],
        *,
        source: SourceUrl | None = None,
        method: str = "GET",
        accept: str = "*/*",
        encoding: str = "identity",
    ) -> T:
        """Ask for a URL that `hide` returned, and return what `consume` makes of the response.

        If the connection is cut, the request is made again after waits that double, and `consume` starts again. Raises
        NotFoundError, DeniedError, or DependencyError.
        """
        from requests import exceptions

        headers = {"Accept": accept, "Accept-Encoding": encoding}
        for attempt in range(1, ATTEMPTS + 1):
            asked = None
            try:
                with self._send(method, url, headers, source) as response:
                    if response.status_code < 400:
                        return consume(response)
                    reason = f"HTTP {response.status_code}"
                    asked = self._judge(url, response)
            except exceptions.SSLError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise errors.certificate(url, self._veil_host(_certificate_reason(error))) from None
                reason = "the TLS connection failed"
            except (exceptions.ProxyError, exceptions.InvalidProxyURL):
                raise errors.proxy(url) from None
            except (
                exceptions.Timeout,
                exceptions.ConnectionError,
                exceptions.ChunkedEncodingError,
                exceptions.ContentDecodingError,
                CutError,
            ) as error:
                reason = why_unanswered(error, "it cut the connection")
            except (exceptions.TooManyRedirects, exceptions.InvalidURL, exceptions.InvalidSchema):
                raise errors.refused(url, "it redirects in a circle, or to an address that is not http(s)") from None
            except exceptions.RequestException:
                # The remaining errors are malformed answers, such as contradicting headers.
                raise errors.refused(url, "its answer cannot be understood") from None
            # If a server asks for a longer wait, the build fails instead of hanging.
            if attempt < ATTEMPTS and (asked or 0.0) <= LONGEST_WAIT:
                # Up to a quarter longer, so that many builds do not ask again at the same time.
                longer = 1 + random.random() / 4  # noqa: S311  nothing secret in a wait
                self._sleep(asked if asked is not None else pause(attempt) * longer)
                continue
            raise errors.unreachable(url, reason, attempt)
        raise AssertionError("unreachable")

    def _judge(self, url: str, response: requests.Response) -> float | None:
        """Return the seconds that a busy server asks for; raise if waiting does not help."""
        status = response.status_code
        if status in {404, 410}:
            raise NotFoundError(status)
        if status in {401, 403}:
            logged_in = "Authorization" in response.request.headers
            unread = "" if logged_in else unreadable_netrc(self._environ)
            raise DeniedError(status, logged_in=logged_in, unread=unread)
        if not is_busy(status):
            raise errors.refused(url, f"HTTP {status} {response.reason or ''}".rstrip())
        return retry_after(response.headers, self._now)

    def _send(self, method: str, shown: str, headers: Mapping[str, str], source: SourceUrl | None) -> requests.Response:
        """Ask and follow redirects, with the login and proxy of each address. A redirect's body is not read."""
        from requests import exceptions

        session = self._connected()
        url = self._address(shown)
        for _ in range(REDIRECTS):
            try:
                login = self._login(url, shown, source)
                sent = {**headers, **({"Authorization": login.header} if login else {})}
                response = session.request(
                    method, url, headers=sent,
                    proxies=self._proxies(url), timeout=self._timeout, allow_redirects=False, stream=True,
                )  # fmt: skip
                target = session.get_redirect_target(response)
                if target is None:
                    return response
                response.close()
                following = join_url(response.url, target)
                if following is None:
                    raise exceptions.InvalidURL
                url, _ = split_login(following)
            except (exceptions.RequestException, OSError):
                raise
            except ValueError as error:  # an address with a misplaced port or bracket
                raise exceptions.InvalidURL from error
        raise exceptions.TooManyRedirects

    def _login(self, url: str, shown: str, source: SourceUrl | None) -> Login | None:
        """Choose the login for an address to which the link `shown` led: the user's login wins."""
        origin = origin_of(url)
        here = origin == origin_of(self._address(shown))
        if here and shown in self._given:
            return self._given[shown]
        for known in (source, *self.sources):
            if known is not None and known.login is not None and origin_of(known.address.reveal()) == origin:
                return known.login
        host = origin[1]
        if host not in self._netrc:
            self._netrc[host] = netrc_login(host, self._environ)
        return self._netrc[host] or (self._written.get(shown) if here else None)

    def _proxies(self, url: str) -> dict[str, str]:
        proxy = find_proxy(self._environ, url)
        return {urlsplit(url).scheme: proxy} if proxy else {}

    def _veil_host(self, text: str) -> str:
        """Replace the host of a source by the variable that names it."""
        for source in self.sources:
            host, written = origin_of(source.address.reveal())[1], source.starts[0][1]
            if "$" in written:
                text = text.replace(host, written.partition("://")[2].partition("/")[0] or written.rstrip("/"))
        return text

    def _pace(self, host: str) -> Pace:
        return Pace(
            lambda reason: errors.too_slow(self._veil_host(host), reason), patience=self._timeout[1], clock=self._clock
        )

    def _connected(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = self._connect()
            return self._session

    def _connect(self) -> requests.Session:
        import requests
        from requests.cookies import RequestsCookieJar

        from buildpack.net.requests_adapter import make_adapter

        if self._unverified:
            import urllib3

            # The build warns once for each source; urllib3 would warn for each connection.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        session = requests.Session()
        session.trust_env = False
        session.headers["User-Agent"] = "deploy"
        session.cookies = _no_cookies(RequestsCookieJar())
        connections = make_adapter(
            self._environ,
            unreadable=errors.ca_file,
            pace=self._pace,
            verifies=lambda url: origin_of(url) not in self._unverified,
        )
        session.mount("http://", connections)
        session.mount("https://", connections)
        return session


def promised_size(response: requests.Response) -> int | None:
    """Return the size in bytes of a body as it is sent; None if the server does not give a valid one."""
    return parse_integer(response.headers.get("Content-Length", ""))


def _no_cookies(jar: Any) -> Any:
    from http.cookiejar import DefaultCookiePolicy

    jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return jar


def _certificate_reason(error: Exception) -> str:
    import re

    match = re.search(r"certificate verify failed: ([^(]*?)\s*\(", str(error))
    return match[1] if match else "certificate verify failed"

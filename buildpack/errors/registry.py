"""Errors of registries.

`origin` is an image's name as the user wrote it, `host` the machine that serves the API. With `around`, for a registry
that only serves the base image, the hint also says how to build without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from buildpack.dataclass import dataclass
from buildpack.errors import MachineError, StackError, sentence
from buildpack.errors.transfer import REFUSED, UNKNOWN_NAME, why_unanswered

_AROUND = " `--stack host` needs no registry; an image saved elsewhere is read with `--stack archive:FILE`."
_ADVICE = {
    REFUSED: "check host and port, and that the registry is running.",
    UNKNOWN_NAME: "check the spelling of the host, and HTTPS_PROXY if only a proxy knows it.",
}
_SAID = "the registry's message says why; its log may say more."
_SILENT = "the registry's log may say why."
LOGIN_VARIABLES = ("DEPLOY_REGISTRY_USER", "DEPLOY_REGISTRY_PASSWORD")


class NotFound(StackError):
    """The registry has no such repository, tag or digest."""


class AccessRefused(StackError):
    """The registry cannot be used: it is out of reach or not trusted, it is busy, or it refuses the login."""


class AccessDenied(AccessRefused):
    """The registry answers 401 or 403."""


class ManifestRefused(StackError):
    """The registry accepts the blobs but not this manifest; `fixed` if the tag must not move."""

    answer: Answer
    fixed: bool = False


class BlobVanished(StackError):
    """The registry lacks blobs that it seemed to have, and the store lacks them too."""

    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one request: `url` has no login and no query; `said` is the registry's text, printable."""

    method: str
    url: str
    status: int
    said: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.url} answered {self.status}" + (f": {self.said}" if self.said else "")


# No answer


def unreachable(host: str, reason: str, *, todo: str = "") -> AccessRefused:
    return AccessRefused(
        f"the registry {host} cannot be reached",
        why=f"{sentence(reason)}.",
        hint=todo or "check the network, and HTTPS_PROXY if there is a proxy.",
    )


def unanswered(host: str, failure: OSError) -> AccessRefused:
    # Only ssl's errors have these attributes.
    if reason := getattr(failure, "verify_message", ""):
        return untrusted(host, str(reason))
    if hasattr(failure, "library"):
        found = re.search(r"\[SSL: \w+\] ([^(\"']*)", str(failure))
        return insecure(host, f"TLS failed: {found[1].strip() if found else 'no handshake'}")
    reason = why_unanswered(failure, "there is no way to it from here")
    return unreachable(host, reason, todo=_ADVICE.get(reason, ""))


def astray(host: str, reason: str) -> AccessRefused:
    return unreachable(host, reason, todo="check that the host is a registry, and that no proxy answers in its place.")


def proxy(host: str) -> AccessRefused:
    return unreachable(host, "the proxy cannot be reached, or refuses", todo="check HTTPS_PROXY.")


def too_slow(host: str, reason: str) -> AccessRefused:
    return AccessRefused(
        f"the registry {host} is too slow",
        why=f"The transfer was stopped: {reason}.",
        hint="check the network, and try again: layers that arrived are kept.",
    )


def untrusted(host: str, reason: str) -> AccessRefused:
    hint = "name the file with your network's CA certificates in REQUESTS_CA_BUNDLE."
    if "expired" in reason or "not yet valid" in reason:
        hint = "renew the registry's certificate; if it is valid, correct this machine's clock."
    elif "mismatch" in reason:
        reason = reason.partition(",")[0]
        hint = "use the name in the registry's certificate, or give the registry a certificate for this name."
    return AccessRefused(
        f"the registry {host} cannot be trusted", why=f"Its certificate does not verify: {reason}.", hint=hint
    )


def insecure(host: str, reason: str) -> AccessRefused:
    return AccessRefused(
        f"the registry {host} does not speak TLS",
        why=f"{sentence(reason)}.",
        hint="check host and port; a registry without TLS is used only on this machine (localhost, 127.0.0.1), or on "
        f"request: DEPLOY_INSECURE_REGISTRIES={host}.",
    )


def authorities_unreadable(variable: str, path: str) -> AccessRefused:
    return AccessRefused(
        f"the certificates of {variable} cannot be read",
        why=f"{variable} is {path!r}, which is missing or holds no PEM certificates.",
        hint=f"correct {variable}, or unset it to use the usual authorities.",
    )


# Refusals


def failed(host: str, answer: Answer, attempts: int, *, around: bool = False) -> AccessRefused:
    return AccessRefused(
        f"the registry {host} fails",
        why=f"{answer}{_times(attempts)}.",
        hint=f"try again later.{_AROUND}"
        if around
        else "try again later; if it fails again, see the server's log: its disk may be full, for example.",
    )


def busy(host: str, answer: Answer, attempts: int, *, around: bool = False) -> AccessRefused:
    return AccessRefused(
        f"the registry {host} refuses more requests for now",
        why=f"{answer} (too many requests){_times(attempts)}.",
        hint="wait until its limit allows more; a login often raises it"
        + (", and so does a mirror of the image." + _AROUND if around else "."),
    )


def denied(
    origin: str,
    host: str,
    answer: Answer,
    *,
    pushing: bool,
    login: str,
    unset: Sequence[str],
    notes: Sequence[str] = (),
) -> AccessDenied:
    """`login` is the source of our login; `unset` are those of LOGIN_VARIABLES that are not set."""
    if login:
        what = f"{origin} cannot be {'pushed' if pushing else 'read'} with this login"
        reason = f"The login from {login} is not allowed to do this, or the repository does not exist"
        hint = (
            f"check the name, or give that user the right to {'push to' if pushing else 'read'} the repository; for "
            f"another login, {_log_in(host, login, unset)}."
        )
    else:
        what = f"{origin} cannot be {'pushed' if pushing else 'read'} anonymously"
        reason = "The repository is private, or there is none of that name"
        if pushing:
            reason = "A push needs a login, and there is none for this registry"
        hint = f"check the name; {_log_in(host, login, unset)}."
        if not pushing:
            hint += " An image saved with `docker save -o FILE` is read with `--stack archive:FILE`."
    return AccessDenied(what, why="\n".join((f"{answer}.", f"{reason}.", *notes)), hint=hint)


def denied_elsewhere(origin: str, host: str, answer: Answer) -> StackError:
    """`host` is the registry that redirected to another store."""
    return StackError(
        f"{origin}: the store that {host} keeps its blobs in refuses",
        why=f"{answer}.\nThe registry sent us there; its login is for itself and was not sent on.",
        hint="try again, because such links expire within minutes; if it fails again, see the registry's log.",
    )


def login_refused(host: str, answer: Answer, *, login: str, unset: Sequence[str]) -> AccessRefused:
    return AccessRefused(
        f"the registry {host} refuses the login",
        why=f"{answer}.\nThe login came from {login}.",
        hint=f"{_log_in(host, login, unset)}; tokens expire, and many registries take only a token as the password.",
    )


def _log_in(host: str, login: str, unset: Sequence[str]) -> str:
    """Return how to log in, naming only variables that are not set."""
    command = f"log in with `docker login {host}`"
    if login == LOGIN_VARIABLES[0]:
        return f"correct {' and '.join(LOGIN_VARIABLES)}, or unset them and {command}"
    if login:
        return f"{command} again" + (f", or set {' and '.join(unset)}" if unset else "")
    if not unset:
        return f"{command}, or set DEPLOY_REGISTRY={host} if DEPLOY_REGISTRY_USER is a user there"
    return f"{command}, or set {' and '.join(unset)}"


def manifest_unknown(origin: str, answer: Answer) -> NotFound:
    return NotFound(f"{origin} does not exist", why=f"{answer}.", hint="check the spelling of the name and of the tag.")


def nothing_reachable(origin: str, answer: Answer) -> NotFound:
    return NotFound(
        f"{origin} cannot be pushed",
        why=f"{answer}.",
        hint="check the name, and create the repository first: this registry does not create repositories.",
    )


def refused(origin: str, answer: Answer) -> StackError:
    if answer.status == 405 and answer.method not in {"GET", "HEAD"}:
        return StackError(
            f"{origin} cannot be pushed: the registry is read-only",
            why=f"{answer}.\nIt is in maintenance, or is a mirror of another registry.",
            hint="end its maintenance, or push to the registry that it mirrors.",
        )
    hint = _SAID if answer.said else _SILENT
    if answer.status == 400 and answer.url.startswith("http://") and not answer.said:
        # A Go server that wants TLS answers 400 to plain requests, without a body if it is a HEAD.
        hint = (
            "it may need TLS: remove it from DEPLOY_INSECURE_REGISTRIES, and use a name other than localhost or "
            "127.0.0.1."
        )
    return StackError(f"{origin}: the registry refuses a request", why=f"{answer}.", hint=hint)


def manifest_refused(origin: str, answer: Answer, media_type: str, *, fixed: bool) -> ManifestRefused:
    hint = _SAID if answer.said else _SILENT
    if answer.status == 403:
        hint = "check the registry's quota, its rules for tags, and the rights of the login."
    elif not fixed and media_type.startswith("application/vnd.oci.image.") and answer.status != 413:
        hint = "if the registry accepts only Docker's format, add `--format docker` to the command."
    error = ManifestRefused(
        f"{origin} cannot be pushed: the registry refuses the manifest",
        why=f"{answer}.\nIt has all the blobs; the manifest's media type is {media_type}.",
        hint=hint,
    )
    error.answer, error.fixed = answer, fixed
    return error


def tag_kept(refused: ManifestRefused, origin: str, kept: str, *, same_format: bool) -> StackError:
    """`kept` is the image that the tag names; `same_format` if its manifest has the format of ours."""
    if refused.fixed:
        return StackError(
            f"{origin} cannot be pushed: the tag names another image, and the registry does not let it move",
            why=f"{refused.answer}.\nThe tag names {kept}.",
            hint="push under a new tag: `-t REF`.",
        )
    hint = "if tags must not move there, push under a new tag: `-t REF`."
    if refused.answer.status == 403:
        hint = f"{hint[:-1]}; else {refused.hint}"
    elif not same_format:
        hint = f"{hint[:-1]}; {refused.hint}"
    return StackError(refused.what, why=f"{refused.why}\nThe tag names another image: {kept}.", hint=hint)


def not_listed(origin: str, digest: str, subject: str) -> StackError:
    return StackError(
        f"{origin}: the registry does not list what was attached",
        why=f"It took {digest}, and neither its list of referrers of {subject} nor the tag that replaces it shows it.",
        hint="try again: another writer may have replaced the tag.",
    )


def not_a_registry(host: str, found: str) -> AccessRefused:
    return AccessRefused(
        f"{host} is not a registry",
        why=f"It answered with {found} where a manifest was asked for.",
        hint="check the host in the reference; a proxy's login page looks like this as well.",
    )


# Fetching


def digest_mismatch(origin: str, wanted: str, found: str) -> StackError:
    return StackError(
        f"{origin} arrived damaged",
        why=f"Its bytes should have the digest {wanted}, they have {found}.",
        hint="try again; if it happens again, something between this machine and the registry alters the data.",
    )


def blob_cut(origin: str, wanted: str, received: int, size: int) -> StackError:
    why = f"The connection was cut again and again: {received} of {size} bytes of {wanted} came."
    return StackError(f"{origin} cannot be fetched", why=why, hint="try again on a better connection.")


# Pushing


def upload_cut(origin: str, digest: str, size: int, reason: str, attempts: int) -> StackError:
    return StackError(
        f"{origin} cannot be pushed",
        why=f"The upload of {digest} ({size} bytes) failed {attempts} times. Last: {sentence(reason)}.",
        hint="try again; blobs that the registry has are not sent again. No tag was changed.",
    )


def too_large(origin: str, answer: Answer, size: int) -> StackError:
    return StackError(
        f"{origin} cannot be pushed: the registry refuses requests of this size",
        why=f"{answer}.\nThe blob has {size} bytes; smaller pieces were refused as well.",
        hint="raise the limit of the registry, or of the proxy before it (nginx: client_max_body_size 0).",
    )


def pushed_otherwise(origin: str, sent: str, kept: str) -> StackError:
    return StackError(
        f"{origin} is not what was pushed",
        why=f"The manifest {sent} was sent, and the registry says that it keeps {kept}.",
        hint="do not use the tag: something between this machine and the registry alters the data.",
    )


def blobs_vanished(origin: str, digests: Sequence[str], answer: Answer | None) -> BlobVanished:
    missing = f"Missing: {', '.join(digests) or 'it does not say which'}."
    error = BlobVanished(
        f"{origin} cannot be pushed: the registry lacks blobs that are not here either",
        why=f"{answer}.\n{missing}" if answer else missing,
        hint="build again with `--no-cache`, so that every layer is made here; no tag was changed.",
    )
    error.digests = tuple(digests)
    return error


def source_unreadable(digest: str, reason: str) -> MachineError:
    why = f"The system says: {reason}."
    return MachineError(f"{digest} cannot be read", why=why, hint="check the store's folder, and build again.")


def _times(attempts: int) -> str:
    return f", {attempts} times" if attempts > 1 else ""

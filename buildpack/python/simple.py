"""Reads pages of an index: the files of one project, as HTML (PEP 503) or JSON (PEP 691 and 700)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from buildpack import bounded
from buildpack.errors import python as errors
from buildpack.python.files import IndexFile

if TYPE_CHECKING:
    import requests

    from buildpack.python.credentials import SourceUrl
    from buildpack.python.http import Client

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"

# A tag's attributes end at the first ">" outside quotes: data-requires-python=">=3.8" is seen unescaped.
_ANCHOR = re.compile(rb"""<a\s((?:[^<>"']++|"[^"]*"|'[^']*')*+)>""", re.IGNORECASE)
_BASE = re.compile(rb"""<base\s((?:[^<>"']++|"[^"]*"|'[^']*')*+)>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([^\s=>"'/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_SHA256 = re.compile(rb"#sha256=([0-9a-fA-F]{64})")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}")
"""The name of a wheel or sdist: without a slash, which would lead into another folder, or a control character."""
_HASH = re.compile(r"(md5|sha1|sha224|sha256|sha384|sha512)=([0-9a-f]+)", re.IGNORECASE)


LARGEST_PAGE = 64 << 20
"""Bytes; the largest on PyPI have about 20 MB."""


def is_plain(filename: str) -> bool:
    """Return True if a name that an index or an address gives is a plain file name."""
    return _PLAIN.fullmatch(filename) is not None


def fetch_files(
    client: Client, source: SourceUrl, name: str, *, wanted: Collection[str] | None = None
) -> list[IndexFile]:
    """Ask one index for the files of a project (canonical name).

    Raises NotFoundError, DeniedError, or DependencyError.
    """
    url = f"{source.url}{name}/"

    def parse(response: requests.Response) -> list[IndexFile]:
        content = _read_page(response, url)
        try:
            return parse_page(content, response.headers.get("Content-Type", ""), response.url, wanted=wanted)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.not_a_page(url, str(error) or type(error).__name__) from None

    return client.get(url, parse, source=source, accept=ACCEPT, encoding="gzip, identity")


def _read_page(response: requests.Response, url: str) -> bytes:
    """Read a page and inflate it piece by piece: a few kilobytes may inflate to any size."""
    import zlib

    from urllib3.exceptions import HTTPError

    from buildpack.python.http import CutError, promised_size

    packed = response.headers.get("Content-Encoding", "").lower() in {"gzip", "x-gzip"}
    inflater = zlib.decompressobj(wbits=31) if packed else None
    page, done = bytearray(), 0
    promised = promised_size(response) or 0
    try:
        if promised > LARGEST_PAGE:
            raise errors.not_a_page(url, f"it is larger than {LARGEST_PAGE >> 20} MB")
        for part in response.raw.stream(1 << 16, decode_content=False):
            done += len(part)
            page += inflater.decompress(part, LARGEST_PAGE) if inflater else part
            if len(page) > LARGEST_PAGE or (inflater and inflater.unconsumed_tail):
                raise errors.not_a_page(url, f"it is larger than {LARGEST_PAGE >> 20} MB")
    except (HTTPError, zlib.error):
        raise CutError from None
    if (inflater and not inflater.eof) or done < promised:
        raise CutError
    return bytes(page)


def parse_page(
    content: bytes, content_type: str, url: str, *, wanted: Collection[str] | None = None
) -> list[IndexFile]:
    """Parse the content of `url` by its content type. Raises ValueError if it is not a page of an index.

    With `wanted` (sha256 in hexadecimal) files that certainly have another hash are left out, which saves most of the
    time: some pages list ten thousand.
    """
    if content_type.partition(";")[0].strip().lower().endswith("json"):
        return parse_json(content, url, wanted=wanted)
    return parse_html(content, url, wanted=wanted)


def parse_html(content: bytes, url: str, *, wanted: Collection[str] | None = None) -> list[IndexFile]:
    """Parse a page of anchors (PEP 503; attributes of PEP 592 and 714)."""
    content = _without_comments(content)
    base = url
    if match := _BASE.search(content):
        base = bounded.join_url(url, _attributes(match[1]).get("href", "")) or url
    return list(_anchors(content, base, wanted))


def _without_comments(content: bytes) -> bytes:
    """Return a page without its comments; an unterminated one stays, because browsers show what follows it."""
    kept, at = [], 0
    while (begin := content.find(b"<!--", at)) >= 0 and (end := content.find(b"-->", begin + 4)) >= 0:
        kept.append(content[at:begin])
        at = end + 3
    return b"".join([*kept, content[at:]])


def _anchors(content: bytes, base: str, wanted: Collection[str] | None) -> Iterator[IndexFile]:
    for match in _ANCHOR.finditer(content):
        if wanted is not None:
            sha256 = _SHA256.search(match[1])
            if sha256 and sha256[1].decode().lower() not in wanted:
                continue
        attributes = _attributes(match[1])
        if not attributes.get("href"):
            continue
        link, _, fragment = (bounded.join_url(base, attributes["href"].strip()) or "").partition("#")
        filename = unquote(urlsplit(link).path.rpartition("/")[2])
        if not is_plain(filename):
            continue
        hashes = {algorithm.lower(): value.lower() for algorithm, value in _HASH.findall(fragment)}
        yield IndexFile(
            filename=filename,
            link=link,
            hashes=hashes,
            requires_python=attributes.get("data-requires-python", ""),
            yanked=attributes.get("data-yanked"),
        )


def _attributes(text: bytes) -> dict[str, str]:
    from html import unescape

    return {
        name.lower(): unescape(double or single or bare)
        for name, double, single, bare in _ATTRIBUTE.findall(text.decode("utf-8", "replace"))
    }


def parse_json(content: bytes, url: str, *, wanted: Collection[str] | None = None) -> list[IndexFile]:
    """Parse a project's page as in PEP 691; `size` and `upload-time` came with PEP 700."""
    page = bounded.parse_json(content)
    if not isinstance(page, dict) or not isinstance(page.get("files"), list):
        raise ValueError("not a project's page: it has no list of files")  # noqa: TRY004  the value is what is wrong
    files = (
        _json_file(entry, url)
        for entry in page["files"]
        if isinstance(entry, dict)
        and is_plain(str(entry["filename"]))
        and (wanted is None or _may_be_wanted(entry, wanted))
    )
    return [file for file in files if file.link]


def _may_be_wanted(entry: Mapping[str, Any], wanted: Collection[str]) -> bool:
    sha256 = (entry.get("hashes") or {}).get("sha256")
    return sha256 is None or str(sha256).lower() in wanted


def _json_file(entry: Mapping[str, Any], url: str) -> IndexFile:
    yanked = entry.get("yanked", False)
    size = entry.get("size")
    hashes = entry.get("hashes") or {}
    return IndexFile(
        filename=str(entry["filename"]),
        link=(bounded.join_url(url, str(entry["url"])) or "").partition("#")[0],
        hashes={str(algorithm).lower(): str(value).lower() for algorithm, value in hashes.items()},
        size=size if isinstance(size, int) else None,
        requires_python=str(entry.get("requires-python") or ""),
        yanked=(yanked if isinstance(yanked, str) else "") if yanked is not False and yanked is not None else None,
    )

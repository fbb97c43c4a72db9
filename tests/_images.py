"""Images for the tests: layers, manifests and indexes as registries keep them, and a registry that serves them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
TOKEN = "a-token-for-everybody"

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: str | bytes = "x", mode: int = 0o644) -> Member:
    """A plain file of a layer."""
    data = content.encode() if isinstance(content, str) else content
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    return entry, data


def special(name: str, kind: bytes, target: str = "", mode: int = 0o755) -> Member:
    """A folder, link or device of a layer."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, target, mode
    return entry, b""


def folder(name: str) -> Member:
    """A folder of a layer."""
    return special(name, tarfile.DIRTYPE)


def symlink(name: str, target: str) -> Member:
    """A symbolic link of a layer."""
    return special(name, tarfile.SYMTYPE, target)


def hardlink(name: str, target: str) -> Member:
    """A hard link of a layer."""
    return special(name, tarfile.LNKTYPE, target)


def layer(*members: Member) -> bytes:
    """A layer: a tar that is not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest(data: bytes) -> str:
    """`sha256:…` of it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Content:
    """What a repository of a registry holds: blobs and manifests by digest, tags."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        """Keep a blob; gives its descriptor."""
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def manifest(self, document: dict[str, Any]) -> dict[str, Any]:
        """Keep a manifest or index; gives its descriptor."""
        data = json.dumps(document).encode()
        self.manifests[digest(data)] = (document["mediaType"], data)
        return {"mediaType": document["mediaType"], "digest": digest(data), "size": len(data)}

    def image(
        self,
        layers: Iterable[bytes],
        *,
        os: str = "linux",
        arch: str = "amd64",
        kind: str = LAYER,
        contents: list[str] | None = None,
    ) -> dict[str, Any]:
        """Keep an image with these layers; gives the descriptor of its manifest, with its platform."""
        layers = list(layers)
        packed = [gzip.compress(item, mtime=0) if kind.endswith("gzip") else item for item in layers]
        config = {
            "os": os,
            "architecture": arch,
            "rootfs": {"type": "layers", "diff_ids": contents or [digest(item) for item in layers]},
        }
        manifest = self.manifest(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self.blob(json.dumps(config).encode(), CONFIG),
                "layers": [self.blob(item, kind) for item in packed],
            }
        )
        return {**manifest, "platform": {"os": os, "architecture": arch}}

    def index(self, tag: str, *images: dict[str, Any], others: bool = True) -> str:
        """Tag an index of images, with entries `others` that are none as build tools add them; gives its digest."""
        attestation = {"mediaType": MANIFEST, "digest": digest(b""), "size": 0}
        unknown = {**attestation, "platform": {"os": "unknown", "architecture": "unknown"}}
        listed = [*([attestation, unknown] if others else []), *images]
        found = self.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
        self.tags[tag] = found["digest"]
        return str(found["digest"])


class ImageRegistry:
    """Serves one repository's content on 127.0.0.1, to those who fetched a token; remembers what it was asked."""

    def __init__(self, repository: str = "tests/thing", port: int = 0) -> None:
        self.content = Content()
        self.repository = repository
        self.asked: list[tuple[str, str]] = []  # path, Authorization
        self.wants_token = True
        self.gives_token = True
        self.blobs_elsewhere = ""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.asked.append((self.path, self.headers.get("Authorization", "")))
                registry._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.host = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def address(self, tag: str) -> str:
        """`host/repository:tag`."""
        return f"{self.host}/{self.repository}:{tag}"

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path == "/token":
            token = json.dumps({"token": TOKEN}).encode()
            self._send(request, *((200, token) if self.gives_token else (403, b"{}")))
        elif self.wants_token and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            scope = f"repository:{self.repository}:pull"
            challenge = f'Bearer realm="http://{self.host}/token",service="tests",scope="{scope}"'
            self._send(request, 401, b"{}", {"WWW-Authenticate": challenge})
        else:
            self._serve(request, path.removeprefix(f"/v2/{self.repository}/"))

    def _serve(self, request: BaseHTTPRequestHandler, path: str) -> None:
        kind, _, name = path.partition("/")
        if kind == "manifests" and self.content.tags.get(name, name) in self.content.manifests:
            media_type, data = self.content.manifests[self.content.tags.get(name, name)]
            self._send(request, 200, data, {"Content-Type": media_type})
        elif kind == "blobs" and self.blobs_elsewhere:
            self._send(request, 307, b"", {"Location": f"{self.blobs_elsewhere}{request.path}"})
        elif kind == "blobs" and name in self.content.blobs:
            self._send(request, 200, self.content.blobs[name], {"Content-Type": "application/octet-stream"})
        else:
            self._send(request, 404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

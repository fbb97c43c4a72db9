"""A web server with releases on 127.0.0.1, and a catalogue that points to it."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from labkit.toolchain import Catalogue, load_catalogue
from labkit.toolchain.catalogue import this_platform

VERSION = "1.2.3"


def program(name: str, version: str = VERSION) -> bytes:
    """A program that says its version."""
    return f"#!/bin/sh\necho '{name} version v{version}'\n".encode()


def tar_gz(files: dict[str, bytes], *, programs: tuple[str, ...] = (), links: dict[str, str] | None = None) -> bytes:
    """A real tar.gz archive; files whose name ends like one of `programs` may be run."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name.endswith(programs) else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """A real zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class ReleaseServer:
    """Serves files; can break downloads off and redirect; remembers what was asked for."""

    def __init__(self, port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.break_off: dict[str, int] = {}  # path: how many more times
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append(self.path)
                if self.path in server.redirects:
                    self.send_response(302)
                    self.send_header("Location", server.redirects[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = server.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if content is None:
                    return
                if server.break_off.get(self.path, 0) > 0:
                    server.break_off[self.path] -= 1
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                else:
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return self.asked.count(path)

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()


def program_entry(name: str, *releases: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A program of the catalogue, with these releases for this platform."""
    return {
        "name": name,
        "version": VERSION,
        "purpose": f"tests {name}",
        "path": [f"{name}-of-the-tests"],
        "accept": "exact",
        "probe": {"arguments": ["--version"], "pattern": rf"{name} version v(\d+\.\d+\.\d+)"},
        "releases": [{"platforms": [str(this_platform())], **release} for release in releases],
        **more,
    }


def catalogue(
    folder: Path,
    *programs: dict[str, Any],
    builds: tuple[dict[str, Any], ...] = (),
    sources: tuple[dict[str, Any], ...] = (),
    go_minimum: str = "1.26",
) -> Catalogue:
    """A catalogue in `folder`/tools.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tools.yaml"
    go = {
        "minimum": go_minimum,
        "package": {"requirements": "no-such-requirements.txt", "file": "go/bin/go"},
        "probe": {"arguments": ["version"], "pattern": r"go version go(\d+\.\d+(?:\.\d+)?)"},
    }
    data = {"go": go, "builds": list(builds), "programs": list(programs), "sources": list(sources)}
    file.write_text(yaml.safe_dump(data))
    return load_catalogue(file)

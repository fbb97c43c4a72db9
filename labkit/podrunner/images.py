"""Images: pulled by digest once, unpacked once, shared by all pods."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labkit.delivery.oci import Registry, unpack_image
from labkit.errors import LabError
from labkit.process import LOOPBACK

_REFERENCE = re.compile(
    r"(?P<host>[^/@]+(?:\.[^/@]+|:\d+)|localhost)/"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class InvalidImageName(LabError):  # noqa: N818 (a kubelet's word)
    """That is no name of an image."""


@dataclass(frozen=True)
class Reference:
    """An image as a pod names it."""

    host: str
    repository: str
    tag: str
    digest: str

    @property
    def version(self) -> str:
        """The digest or tag to ask a registry for."""
        return self.digest or self.tag


def parse_reference(text: str) -> Reference:
    """Read an image's name; the registry has to be named, `latest` may be left out.

    Raises:
        InvalidImageName: It is none.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise InvalidImageName(
            f'Failed to apply default image tag "{text}": couldn\'t parse image name "{text}": invalid reference format'
        )
    return Reference(match["host"], match["repository"], match["tag"] or "latest", match["digest"] or "")


@dataclass(frozen=True)
class LocalImage:
    """An image that is here.

    Attributes:
        image_id: Its name by digest, as in `imageID`.
        root: Its files. Not to be written to.
        config: Its OCI configuration: entrypoint, environment, working directory.
        size: Bytes that were downloaded for it.
    """

    image_id: str
    root: Path
    config: Mapping[str, Any]
    size: int


class ImageCache:
    """Unpacked images by digest, below a folder that several runners may share.

    Args:
        folder: Where.
        python: The interpreter that compiles an image's modules, as `pip install` does when an image is built.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self._folder = folder
        self._python = python
        self._pulling: dict[str, asyncio.Lock] = {}

    def find(self, name: str) -> LocalImage | None:
        """The image of that name, if it is here."""
        reference = parse_reference(name)
        digest = reference.digest
        if not digest:
            known = self._name_file(name)
            digest = known.read_text() if known.is_file() else ""
        return self._load(reference, digest) if digest else None

    async def pull(self, name: str) -> LocalImage:
        """Ask the registry for an image; what is here already is not downloaded again.

        Raises:
            LabError: There is none, the registry does not answer, or the image is not safe.
        """
        async with self._pulling.setdefault(name, asyncio.Lock()):
            return await asyncio.to_thread(self._pull, name)

    def _pull(self, name: str) -> LocalImage:
        reference = parse_reference(name)
        local = reference.host.partition(":")[0] in (LOOPBACK, "localhost")
        registry = Registry(reference.host, elsewhere=not local)
        found = registry.find(reference.repository, reference.version)
        if found is None:
            raise LabError(f'failed to resolve reference "{name}": {name}: not found')
        image = self._load(reference, found.digest)
        if image is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                new = Path(scratch) / "image"
                root = unpack_image(registry, found, new / "root")
                self._compile(root)
                size = sum(int(layer["size"]) for layer in found.layers)
                (new / "image.json").write_text(json.dumps({"config": dict(found.config), "size": size}))
                _make_read_only(root)
                self._keep(new, found.digest)
            image = self._load(reference, found.digest)
            assert image is not None
        known = self._name_file(name)
        known.parent.mkdir(exist_ok=True)
        known.write_text(found.digest)
        return image

    def _compile(self, root: Path) -> None:
        # What cannot be compiled cannot be imported either: the program will say so itself.
        subprocess.run(
            [self._python, "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash", str(root)],
            check=False,
            capture_output=True,
        )

    def _keep(self, new: Path, digest: str) -> None:
        try:
            new.rename(self._digest_folder(digest))
        except OSError:
            # Another runner was faster.
            if not self._digest_folder(digest).is_dir():
                raise
            _make_writable(new)

    def _load(self, reference: Reference, digest: str) -> LocalImage | None:
        folder = self._digest_folder(digest)
        try:
            data = json.loads((folder / "image.json").read_text())
        except FileNotFoundError:
            return None
        image_id = f"{reference.host}/{reference.repository}@{digest}"
        return LocalImage(image_id, folder / "root", data["config"], int(data["size"]))

    def _digest_folder(self, digest: str) -> Path:
        return self._folder / digest.replace(":", "-")

    def _name_file(self, name: str) -> Path:
        return self._folder / "names" / quote(name, safe="")


def copy_root(image: LocalImage, into: Path) -> None:
    """A private copy of an image's files, which may be written to."""
    shutil.copytree(image.root, into, copy_function=_copy)


def share_root(image: LocalImage, into: Path) -> None:
    """An image's files in folders of one's own, for who has said that it will not write to them."""
    shutil.copytree(image.root, into, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # The images may be on another file system, or on one without links.
        shutil.copy(source, target)


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    Path(target).chmod(Path(source).stat().st_mode | 0o200)


def _make_read_only(root: Path) -> None:
    for file in root.rglob("*"):
        if file.is_file():
            file.chmod(file.stat().st_mode & ~0o222)


def _make_writable(root: Path) -> None:
    for file in root.rglob("*"):
        file.chmod(file.stat().st_mode | 0o200)

"""Pull an image that somebody else published, and unpack it for this platform, without a container engine.

Sources: https://github.com/opencontainers/distribution-spec and https://github.com/opencontainers/image-spec (index,
manifest, configuration); https://distribution.github.io/distribution/spec/auth/token/ (anonymous tokens).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from labkit.delivery.layers import apply_layer, assert_links_stay_inside
from labkit.delivery.oci import MANIFEST_TYPE, Blob, Registry, RegistryError
from labkit.errors import LabError
from labkit.progress import Task, step
from labkit.toolchain.catalogue import Platform
from labkit.toolchain.release import Unavailable

MAX_UNPACKED = 2 * 1024**3  # bytes that an image may unpack to
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
_ADDRESS = re.compile(r"(?P<host>[^/]+)/(?P<repository>[a-z0-9][a-z0-9._/-]*):(?P<tag>[\w][\w.-]{0,127})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class RemoteImage:
    """An image for one platform, as a registry elsewhere has it.

    Attributes:
        address: `host/repository:tag` that was asked for.
        digest: What the registry answered for it: digest of the index, or of the only manifest.
        config: Descriptor of its configuration.
        layers: Descriptors of its layers, the lowest first.
    """

    address: str
    digest: str
    registry: Registry
    repository: str
    config: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes to be downloaded."""
        return sum(int(layer["size"]) for layer in self.layers)


def find_image(address: str, platform: Platform, *, digest: str = "") -> RemoteImage:
    """Look for an image; nothing but its manifests is downloaded.

    Args:
        address: `host/repository:tag`.
        platform: Which of its images, where it is an index.
        digest: What the registry has to answer, if that is known beforehand.

    Raises:
        Unavailable: The registry cannot be reached, does not have it or does not give it.
        LabError: What it answers is not the image of that digest, or no image for this platform.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise LabError(f"{address} is no address of an image", todo="write it as host/repository:tag")
    registry, repository = Registry(parts["host"], elsewhere=True), parts["repository"]
    try:
        found = registry.manifest(repository, digest or parts["tag"], *_INDEX_TYPES, *_MANIFEST_TYPES)
        answered = found.digest
        listed = _document(found, address)
        if "manifests" in listed:
            found = registry.manifest(repository, _for_platform(listed, platform, address), *_MANIFEST_TYPES)
            listed = _document(found, address)
    except RegistryError as error:
        raise Unavailable(f"{address} cannot be pulled: {_said(error)}") from error
    try:
        config, layers = listed["config"], tuple(listed["layers"])
        descriptors = (config, *layers)
        sound = all(_DIGEST.fullmatch(item["digest"]) and int(item["size"]) >= 0 for item in descriptors)
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{address} is no OCI image", seen=repr(error)) from error
    if not sound or not layers:
        raise LabError(f"{address} is no OCI image", seen=json.dumps(listed)[:300])
    return RemoteImage(address, answered, registry, repository, config, layers)


def unpack_remote_image(image: RemoteImage, platform: Platform, into: Path, *, title: str) -> None:
    """Download an image's layers and unpack them into a new folder; what is refused leaves nothing behind.

    Every blob has to be what its digest says, and every layer what the configuration says that it unpacks to.

    Args:
        image: What `find_image` found.
        platform: The platform that it has to be for.
        into: The folder to create.
        title: What it is, for the progress bar.

    Raises:
        Unavailable: The registry broke off, or refuses.
        LabError: The image is not what its digests say, is for another platform, is too large, or not safe.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as folder, step(f"Pulling {title}", total=image.size) as task:
        scratch = Path(folder)
        root = scratch / "root"
        root.mkdir()
        try:
            contents = _contents(image, platform)
            done, budget = 0, MAX_UNPACKED
            for layer, content in zip(image.layers, contents, strict=True):
                budget -= _unpack(image, layer, content, root, scratch, budget, _Progress(task, done))
                done += int(layer["size"])
        except RegistryError as error:
            raise Unavailable(f"{image.address} cannot be pulled: {_said(error)}") from error
        assert_links_stay_inside(root)
        root.rename(into)


@dataclass(frozen=True)
class _Progress:
    """Says how far all layers are, while one of them comes."""

    task: Task
    before: int

    def __call__(self, size: int) -> None:
        self.task.update(self.before + size, f"{(self.before + size) / 1e6:.0f} MB")


def _document(manifest: Blob, address: str) -> dict[str, Any]:
    try:
        document = json.loads(manifest.data)
    except ValueError as error:
        raise LabError(f"{address} is no OCI image", seen=str(error)) from error
    if not isinstance(document, dict):
        raise LabError(f"{address} is no OCI image", seen=repr(document)[:300])
    return document


def _for_platform(index: Mapping[str, Any], platform: Platform, address: str) -> str:
    """The digest of an index's manifest for a platform."""
    offered: dict[str, str] = {}
    for item in index["manifests"] or ():
        try:
            offered.setdefault(f"{item['platform']['os']}/{item['platform']['architecture']}", str(item["digest"]))
        except (KeyError, TypeError):
            continue  # an entry without a platform is nothing that can be run
    found = offered.get(str(platform), "")
    if not _DIGEST.fullmatch(found):
        raise LabError(f"{address} has no image for {platform}", seen=", ".join(sorted(offered)) or "nothing")
    return found


def _contents(image: RemoteImage, platform: Platform) -> list[str]:
    """The digest of what each layer unpacks to."""
    data = image.registry.blob(image.repository, str(image.config["digest"]))
    try:
        config = json.loads(data)
        built_for = f"{config['os']}/{config['architecture']}"
        contents = [str(content) for content in config["rootfs"]["diff_ids"]]
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{image.address} is no OCI image", seen=repr(error)) from error
    if built_for != str(platform):
        raise LabError(f"{image.address} has no image for {platform}", seen=built_for)
    if len(contents) != len(image.layers):
        raise LabError(f"{image.address} has {len(image.layers)} layers, its configuration names {len(contents)}")
    return contents


def _unpack(
    image: RemoteImage,
    layer: Mapping[str, Any],
    content: str,
    root: Path,
    scratch: Path,
    budget: int,
    progress: _Progress,
) -> int:
    """Download a layer, check it, put it over what is there; returns the bytes it holds."""
    packed, plain = scratch / "layer", scratch / "layer.tar"
    image.registry.save_blob(image.repository, layer, packed, progress)
    kind = str(layer.get("mediaType", ""))
    if not kind.endswith(("gzip", "tar")):
        raise LabError(f"{image.address} has a layer that is neither tar nor gzip", seen=kind)
    unpacked: Any = gzip.GzipFile if kind.endswith("gzip") else Path.open
    with unpacked(packed, "rb") as source, plain.open("w+b") as out:
        seen = _copy(source, out, budget, image.address)
        if seen != content:
            raise LabError(f"A layer of {image.address} holds other files than its configuration says", seen=seen)
        size = out.tell()
        out.seek(0)
        apply_layer(out, root)
    return size


def _copy(source: BinaryIO, out: BinaryIO, limit: int, address: str) -> str:
    digest = hashlib.sha256()
    try:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
            if out.tell() > limit:
                raise LabError(f"{address} unpacks to more than {MAX_UNPACKED} bytes")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise LabError(f"A layer of {address} is no gzip stream", seen=str(error)) from error
    return f"sha256:{digest.hexdigest()}"


def _said(error: LabError) -> str:
    return f"{error.what} ({error.seen})" if error.seen else error.what

"""Which engine reconciles Kargo's resources: the genuine control plane where it can be had, or the stand-in."""

from __future__ import annotations

import html
import shutil
from dataclasses import dataclass
from pathlib import Path

from labkit.config import Lab
from labkit.delivery.layers import file_in
from labkit.delivery.pull import find_image, unpack_remote_image
from labkit.errors import LabError
from labkit.paths import cache_dir
from labkit.process import run
from labkit.toolchain import Catalogue, load_catalogue
from labkit.toolchain.cache import Cache, Origin
from labkit.toolchain.catalogue import ImageProgram, this_platform
from labkit.toolchain.release import Unavailable

CONTROL_PLANE = "kargo-controlplane"
_PROBE_SECONDS = 30.0


@dataclass(frozen=True)
class Engine:
    """Who reconciles Kargo's resources: `kargo` or `kargolite`, and why that one.

    Attributes:
        name: `kargo` or `kargolite`.
        why: The reason, for people.
        program: The genuine control plane; empty for the stand-in, and where it is still to be pulled.
    """

    name: str
    why: str
    program: str = ""

    def __str__(self) -> str:
        return f"Kargo's resources are reconciled by {self.name}: {self.why}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>Kargo's resources are reconciled by <b>{self.name}</b>: {html.escape(self.why)}</p>"


def choose_engine(lab: Lab, *, catalogue: Catalogue | None = None, cache: Path | None = None) -> Engine:
    """The engine that a lab's setting (`auto`, `kargo`, `kargolite`) comes to on this machine; only looks.

    The genuine one is taken from PATH, else from the program cache, else from its official image.

    Args:
        lab: The lab.
        catalogue: Another one than `data/tools.yaml`.
        cache: Another folder than the user's program cache.

    Raises:
        LabError: The genuine one was asked for and cannot be had; or what can be had is not what it should be.
    """
    if lab.settings.kargo == "kargolite":
        return Engine("kargolite", "LABKIT_KARGO=kargolite asks for it")
    image, place = _where(catalogue, cache)
    try:
        return _located(image, place) or _offered(image, place)
    except Unavailable as reason:
        return _without_genuine(lab, image, place, reason)


def ensure_engine(lab: Lab, *, catalogue: Catalogue | None = None, cache: Path | None = None) -> Engine:
    """The engine that a lab's setting comes to, ready to be started: what is missing is pulled into the cache.

    Args:
        lab: The lab.
        catalogue: Another one than `data/tools.yaml`.
        cache: Another folder than the user's program cache.

    Raises:
        LabError: See `choose_engine`.
    """
    if lab.settings.kargo == "kargolite":
        return choose_engine(lab)
    image, place = _where(catalogue, cache)
    located = _located(image, place)
    if located:
        return located
    try:
        with place.lock():
            return _located(image, place) or _pulled(image, place)
    except Unavailable as reason:
        return _without_genuine(lab, image, place, reason)


def _where(catalogue: Catalogue | None, cache: Path | None) -> tuple[ImageProgram, Cache]:
    image = (catalogue or load_catalogue()).images[CONTROL_PLANE]
    return image, Cache(cache or cache_dir(), this_platform())


def _located(image: ImageProgram, cache: Cache) -> Engine | None:
    """The genuine engine, where it is on this machine already."""
    program = shutil.which(CONTROL_PLANE)
    if program:
        version = _version(image, Path(program))
        return Engine("kargo", f"{CONTROL_PLANE} {version} is on PATH", program)
    root = cache.image(image)
    if not cache.has(root):
        return None
    repository, _, digest = cache.origin(root).address.partition("@")
    if image.digest not in ("", digest):
        return None
    why = f"version {image.version} was pulled from {repository} ({digest[:19]}…)"
    return Engine("kargo", why, str(file_in(root, image.file)))


def _offered(image: ImageProgram, cache: Cache) -> Engine:
    """The genuine engine, where its registry offers it for this platform."""
    _assert_published(image, cache)
    find_image(image.address, cache.platform, digest=image.digest)
    return Engine("kargo", f"version {image.version} is to be pulled from {image.address}")


def _pulled(image: ImageProgram, cache: Cache) -> Engine:
    """The genuine engine, its image pulled and unpacked into the cache once it says its version."""
    _assert_published(image, cache)
    found = find_image(image.address, cache.platform, digest=image.digest)
    repository = image.address.rpartition(":")[0]
    with cache.installing(cache.image(image), Origin("image", f"{repository}@{found.digest}")) as root:
        unpack_remote_image(found, cache.platform, root, title=f"Kargo {image.version}")
        version = _version(image, file_in(root, image.file))
        if version != image.version:
            raise LabError(f"{image.address} is not version {image.version}", seen=f"it says {version}")
    located = _located(image, cache)
    assert located is not None
    return located


def _assert_published(image: ImageProgram, cache: Cache) -> None:
    if str(cache.platform) not in image.platforms:
        published = ", ".join(sorted(image.platforms))
        raise Unavailable(f"its image holds programs for {published} only, and this is {cache.platform}")


def _version(image: ImageProgram, program: Path) -> str:
    said = run([program, *image.probe.arguments], timeout=_PROBE_SECONDS)
    return image.probe.version_in(said) or f"of unknown version ({' '.join(said.split())[:80]})"


def _without_genuine(lab: Lab, image: ImageProgram, cache: Cache, reason: Unavailable) -> Engine:
    """The stand-in, where it may stand in."""
    if lab.settings.kargo == "kargo":
        raise LabError(
            "LABKIT_KARGO=kargo, but the genuine control plane cannot be had",
            seen=f"{CONTROL_PLANE} is not on PATH; version {image.version} is not in {cache.root}; {reason}",
            todo=f"put Kargo's control plane on PATH as {CONTROL_PLANE}, or set LABKIT_KARGO=auto",
        ) from reason
    return Engine("kargolite", f"{CONTROL_PLANE}, the genuine control plane, is not on PATH, and {reason}")

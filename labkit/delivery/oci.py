"""OCI images without Docker: build one from a tier's source, push it, look at it, unpack it.

Sources: https://github.com/opencontainers/image-spec and https://github.com/opencontainers/distribution-spec.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from labkit.delivery.dockerfile import Copy, Recipe, read_recipe_file
from labkit.delivery.wheels import ensure_wheels
from labkit.errors import LabError
from labkit.process import LOOPBACK
from labkit.toolchain.release import CONNECT_SECONDS, READ_SECONDS, assert_reachable, give_up

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
REVISION = "org.opencontainers.image.revision"
VERSION = "org.opencontainers.image.version"
TIMEOUT = 30.0  # seconds for one request to a registry
MAX_UNPACKED = 512 * 1024 * 1024  # bytes that an image may unpack to
_CHUNK = 1024 * 1024
_IGNORED = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


class RegistryError(LabError):
    """A registry does not answer, or refuses."""


@dataclass(frozen=True)
class Blob:
    """Content with its digest, as registries keep it."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        """`sha256:…` of the content."""
        return _digest(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        """How a manifest points to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True)
class Image:
    """An image with one layer, ready to be pushed."""

    tier: str
    version: str
    revision: str
    content_digest: str
    layer: Blob
    config: Blob
    manifest: Blob

    @property
    def digest(self) -> str:
        """The manifest's digest, by which a cluster pulls the image."""
        return self.manifest.digest


@dataclass(frozen=True)
class PublishedImage:
    """An image in a registry.

    Attributes:
        content_digest: Digest of the files in it, whatever commit they came from.
        config: Its OCI configuration: entrypoint, environment, labels.
    """

    repository: str
    digest: str
    content_digest: str
    labels: Mapping[str, str]
    config: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]


def build_image(source: Path, tier: str, version: str, revision: str, *, created: str, url: str = "") -> Image:
    """Build a tier's image as its Dockerfile says, without the base image.

    The same commit gives the same digest: files are sorted, and belong to root since 1970. The tier's VERSION file
    says in the image which version was built.

    Args:
        source: A checkout of the source repo.
        tier: Folder of the tier in it.
        version: The image's version.
        revision: The commit.
        created: The commit's time, RFC 3339.
        url: Address of the source repo.

    Raises:
        LabError: The Dockerfile asks for something else than files and wheels, or for what is not there.
    """
    recipe = read_recipe_file(source / tier / "Dockerfile")
    layer = _tar(_files(source, recipe, {f"{tier}/VERSION": f"{version}\n".encode()}))
    labels = {
        "org.opencontainers.image.title": tier,
        VERSION: version,
        REVISION: revision,
        "org.opencontainers.image.created": created,
        **({"org.opencontainers.image.source": url} if url else {}),
    }
    blob = Blob(LAYER_TYPE, gzip.compress(layer, compresslevel=6, mtime=0))
    config = Blob(CONFIG_TYPE, _json(_config(recipe, labels, created, _digest(layer))))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor,
        "layers": [blob.descriptor],
        "annotations": labels,
    }
    return Image(tier, version, revision, _digest(layer), blob, config, Blob(MANIFEST_TYPE, _json(manifest)))


def _config(recipe: Recipe, labels: Mapping[str, str], created: str, content: str) -> dict[str, Any]:
    run = {
        "User": recipe.user,
        "Env": [f"{name}={value}" for name, value in recipe.env.items()],
        "WorkingDir": str(recipe.workdir),
        "Entrypoint": list(recipe.entrypoint),
        "Cmd": list(recipe.command),
        "ExposedPorts": {f"{port}/tcp": {} for port in recipe.ports},
        "Labels": dict(labels),
    }
    return {
        "created": created,
        # The content is pure Python and fits any platform, but the format wants one to be named.
        "architecture": "amd64",
        "os": "linux",
        "config": {key: value for key, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [content]},
        "history": [{"created": created, "created_by": "labkit"}],
    }


def _files(source: Path, recipe: Recipe, replaced: Mapping[str, bytes]) -> dict[PurePosixPath, bytes]:
    """The content of the layer, by path in the image."""
    files: dict[PurePosixPath, bytes] = {}
    origin: dict[PurePosixPath, Path] = {}
    for item in recipe.contents:
        if isinstance(item, Copy):
            for path, file in _copied(source, item):
                files[path] = replaced.get(file.relative_to(source).as_posix(), file.read_bytes())
                origin[path] = file
        else:
            if item.requirements not in origin:
                raise LabError(f"The Dockerfile installs {item.requirements}, which it did not copy before")
            folder = ensure_wheels(origin[item.requirements])
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                if not _IGNORED & set(file.parts):
                    files[item.target / file.relative_to(folder).as_posix()] = file.read_bytes()
    return files


def _copied(source: Path, item: Copy) -> Iterator[tuple[PurePosixPath, Path]]:
    for name in item.sources:
        origin = source / name
        found = sorted(origin.rglob("*")) if origin.is_dir() else [origin]
        for file in found:
            if file.is_symlink() or any(parent.is_symlink() for parent in _between(source, file)):
                raise LabError(f"{file.relative_to(source)} is a link; images of the lab hold files and folders only")
            if file.is_dir() or _IGNORED & set(file.relative_to(source).parts):
                continue
            if not file.is_file():
                raise LabError(f"The Dockerfile copies {name}, which is not there")
            if origin.is_dir():
                yield item.destination / file.relative_to(origin).as_posix(), file
            elif item.into_folder:
                yield item.destination / file.name, file
            else:
                yield item.destination, file


def _between(source: Path, file: Path) -> Iterator[Path]:
    for parent in file.parents:
        if parent == source:
            return
        yield parent


def _tar(files: Mapping[PurePosixPath, bytes]) -> bytes:
    folders = {parent for path in files for parent in path.parents if parent.name}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*folders, *files}):
            entry = tarfile.TarInfo(str(path).lstrip("/"))
            if path in files:
                entry.size, entry.mode = len(files[path]), 0o644
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry, io.BytesIO(files.get(path, b"")))
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Timeout(HTTPAdapter):
    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        return super().send(request, *args, **kwargs)


class _Elsewhere(HTTPAdapter):
    """Other hosts: one that cannot be reached is given up within seconds, and remembered for the run."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        assert_reachable(request.url)
        kwargs["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        try:
            return super().send(request, *args, **kwargs)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise give_up(request.url, _cause(error)) from error


def _cause(error: requests.RequestException) -> str:
    """What went wrong below requests and urllib3, whose own words repeat the whole address."""
    cause: Any = error.args[0] if error.args else error
    for inside in ("reason", "original_error"):
        cause = getattr(cause, inside, cause)
    return str(cause).rpartition(": ")[2] or type(error).__name__


class Registry:
    """An image registry: the lab's own, over plain HTTP on this machine, or one elsewhere.

    Args:
        host: Host and port.
        user: An account that may push; nothing to read what is public.
        password: Its password or token.
        elsewhere: Whether it is somebody else's: HTTPS unless it is on this machine (as Docker does), by the way
            of the user's proxies, and given up within seconds.
    """

    def __init__(self, host: str, user: str = "", password: str = "", *, elsewhere: bool = False) -> None:
        self.host = host
        secure = elsewhere and host.partition(":")[0] not in (LOOPBACK, "localhost")
        self._address = f"{'https' if secure else 'http'}://{host}"
        # oras takes longer to import than all else that a command needs, and most ask no registry.
        from labkit.delivery.registry_client import RegistryClient

        self._client = RegistryClient(hostname=host, insecure=not secure)
        self._client.session.trust_env = secure
        for scheme in ("http://", "https://"):
            self._client.session.mount(scheme, _Elsewhere() if elsewhere else _Timeout())
        if user:
            self._client.auth.set_basic_auth(user, password)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository (`lab/frontend`); none where there is no such repository."""
        if self._ask("GET", repository, "tags/list?n=1").status_code == 404:
            return []
        try:
            return sorted(self._client.get_tags(f"{self.host}/{repository}"))
        except (requests.RequestException, ValueError) as error:
            raise self._unreadable(f"the tags of {repository}", error) from error

    def exists(self, repository: str, reference: str) -> bool:
        """Whether there is an image with that tag or digest."""
        answer = self._ask("HEAD", repository, f"manifests/{reference}", accept=MANIFEST_TYPE)
        if answer.status_code not in (200, 404):
            raise self._refused(answer)
        return answer.status_code == 200

    def manifest(self, repository: str, reference: str, *accept: str) -> Blob:
        """A manifest or index by tag or digest, checked against its digest.

        Args:
            repository: The repository.
            reference: A tag, or `sha256:…`.
            accept: The media types that will do.

        Raises:
            RegistryError: The registry does not answer, or does not have it.
            LabError: It is not what its digest says.
        """
        answer = self._ask("GET", repository, f"manifests/{reference}", accept=", ".join(accept))
        if answer.status_code != 200:
            raise self._refused(answer)
        found = Blob(answer.headers.get("Content-Type", "").partition(";")[0].strip(), answer.content)
        if reference.startswith("sha256:") and found.digest != reference:
            raise LabError(f"{self.host} answered another image than {repository}@{reference}", seen=found.digest)
        return found

    def save_blob(
        self, repository: str, descriptor: Mapping[str, Any], file: Path, said: Callable[[int], None] = lambda _: None
    ) -> None:
        """Download a blob into a file, checked against its digest and size while it comes.

        Args:
            repository: The repository.
            descriptor: How a manifest points to it.
            file: Where to put it.
            said: Is told how many bytes have come.

        Raises:
            RegistryError: The registry does not answer, does not have it, or broke off.
            LabError: It is not what its descriptor says.
        """
        wanted, size = str(descriptor["digest"]), int(descriptor["size"])
        digest = hashlib.sha256()
        answer = self._ask("GET", repository, f"blobs/{wanted}", stream=True)
        with answer, file.open("wb") as out:
            if answer.status_code != 200:
                raise self._refused(answer)
            try:
                for chunk in answer.iter_content(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
                    said(out.tell())
                    if out.tell() > size:
                        break
            except requests.RequestException as error:
                raise self._unreadable(f"{repository}/blobs/{wanted}", error) from error
        seen = f"sha256:{digest.hexdigest()}"
        if seen != wanted:
            raise LabError(
                f"{self.host} answered another blob than {wanted}", seen=f"{seen}, {file.stat().st_size} bytes"
            )

    def find(self, repository: str, reference: str) -> PublishedImage | None:
        """An image of the lab by tag or digest, if it is there.

        Raises:
            LabError: It cannot be read, or is not what its digest says.
        """
        answer = self._ask("GET", repository, f"manifests/{reference}", accept=MANIFEST_TYPE)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise self._refused(answer)
        digest = _digest(answer.content)
        if reference.startswith("sha256:") and digest != reference:
            raise LabError(f"{self.host} answered another image than {repository}@{reference}", seen=digest)
        try:
            manifest = answer.json()
            config = json.loads(self.blob(repository, manifest["config"]["digest"]))
            return PublishedImage(
                repository=repository,
                digest=digest,
                content_digest=",".join(config["rootfs"]["diff_ids"]),
                labels=config.get("config", {}).get("Labels") or {},
                config=config.get("config", {}),
                layers=tuple(manifest["layers"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabError(f"{self.host}/{repository}:{reference} is no OCI image", seen=repr(error)) from error

    def blob(self, repository: str, digest: str) -> bytes:
        """A blob's content, checked against its digest."""
        answer = self._ask("GET", repository, f"blobs/{digest}")
        if answer.status_code != 200:
            raise self._refused(answer)
        if _digest(answer.content) != digest:
            raise LabError(f"{self.host} answered another blob than {digest}", seen=_digest(answer.content))
        return answer.content

    def push(self, image: Image, repository: str, tag: str = "") -> str:
        """Push an image under a tag (its version, unless told otherwise).

        Returns:
            Its digest.

        Raises:
            LabError: The registry refused it; gives its own words.
        """
        for blob in (image.layer, image.config):
            self._upload(blob, repository)
        answer = self._ask(
            "PUT",
            repository,
            f"manifests/{tag or image.version}",
            data=image.manifest.data,
            content_type=MANIFEST_TYPE,
        )
        if answer.status_code != 201:
            raise self._refused(answer)
        return image.digest

    def _upload(self, blob: Blob, repository: str) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(blob.data)
            file.flush()
            try:
                answer = self._client.upload_blob(file.name, f"{self.host}/{repository}", blob.descriptor)
            except (requests.RequestException, ValueError) as error:
                raise self._unreadable(f"{repository} for a push", error) from error
        if answer.status_code not in (200, 201, 202):
            raise self._refused(answer)

    def _ask(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        accept: str = "",
        data: Any = None,
        content_type: str = "",
        stream: bool = False,
    ) -> requests.Response:
        headers = {"Accept": accept} if accept else {}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            answer: requests.Response = self._client.do_request(
                f"{self._address}/v2/{repository}/{path}", method, headers=headers, data=data, stream=stream
            )
        except (requests.RequestException, ValueError) as error:
            raise self._unreadable(f"{repository}/{path}", error) from error
        return answer

    def _unreadable(self, what: str, error: Exception) -> LabError:
        return RegistryError(
            f"The registry {self.host} gave no access to {what}",
            seen=str(error),
            todo="`labkit status`, then `labkit up`",
        )

    def _refused(self, answer: requests.Response) -> LabError:
        asked = f"{answer.request.method} {answer.request.path_url}"
        return RegistryError(
            f"The registry {self.host} refused {asked} ({answer.status_code})",
            seen=answer.text[:300],
        )


def unpack_image(registry: Registry, image: PublishedImage, into: Path) -> Path:
    """Unpack an image's files into a new folder.

    Files and folders are all that is accepted: no links, devices or paths outside, and a bounded size.
    What is refused leaves nothing behind.

    Args:
        registry: Where it is.
        image: What `Registry.find` returned.
        into: The folder to create.

    Raises:
        LabError: The image is not safe or not what its digests say; names the entry.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        budget = MAX_UNPACKED
        for layer, content in zip(image.layers, image.content_digest.split(","), strict=True):
            data = _decompressed(registry.blob(image.repository, layer["digest"]), budget)
            if _digest(data) != content:
                raise LabError(f"A layer of {image.repository} holds other files than its configuration says")
            budget -= unpack_layer(data, root)
        root.rename(into)
    return into


def _decompressed(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise LabError("A layer is no gzip stream", seen=str(error)) from error
    if len(unpacked) > limit:
        raise LabError(f"An image unpacks to more than {MAX_UNPACKED} bytes")
    if not stream.eof or stream.unused_data:
        raise LabError("A layer is no single gzip stream")
    return unpacked


def unpack_layer(data: bytes, root: Path) -> int:
    """Unpack one layer (a tar) below a folder of its own.

    Returns:
        The bytes it took.

    Raises:
        LabError: An entry is no plain file or folder, or leads outside.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                _unpack_entry(archive, entry, root)
    except (tarfile.TarError, UnicodeError, OSError, ValueError) as error:
        raise LabError("A layer is no tar archive that can be unpacked", seen=str(error)) from error
    return len(data)


def _unpack_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, root: Path) -> None:
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\0" in entry.name:
        raise LabError(f"A layer has an entry that leads outside: {entry.name!r}")
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        raise LabError(f"A layer has an entry that is no plain file or folder: {entry.name!r}")
    if path.name.startswith(".wh."):
        raise LabError(f"A layer deletes files of the one below, which the lab's images never do: {entry.name!r}")
    target = root / path
    if entry.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(entry)
    assert content is not None
    target.write_bytes(content.read())
    target.chmod(stat.S_IRUSR | stat.S_IWUSR | (entry.mode & stat.S_IXUSR))

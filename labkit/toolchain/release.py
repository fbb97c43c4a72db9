"""Official releases: download, verify, unpack. A host that cannot be reached is remembered for the run."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import socket
import tarfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import httpx

from labkit.errors import LabError
from labkit.progress import step
from labkit.toolchain.catalogue import Checksum, ChecksumFormat, Release

CONNECT_SECONDS = 3.0
READ_SECONDS = 20.0
_ATTEMPTS = 2
_SHA256 = re.compile(r"[0-9a-f]{64}")

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)
_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)

_unreachable: dict[str, str] = {}


class Unavailable(Exception):  # noqa: N818 (a finding, not a failure: there are other ways)
    """A release cannot be had from here; the message says why."""


def fetch(release: Release, folder: Path, *, title: str) -> Path:
    """Download a release's file and verify it.

    Args:
        release: What to fetch.
        folder: Where to put it, under its own name.
        title: What it is, for the progress bar.

    Returns:
        The verified file.

    Raises:
        Unavailable: The host cannot be reached, does not have the file, or broke the download off twice.
        LabError: The file is not the one that the release's checksum names.
    """
    expected = _expected(release.checksum, release.asset)
    file = folder / release.asset
    for _ in range(_ATTEMPTS):
        seen = _download(release.address, file, title)
        if seen == expected:
            return file
    file.unlink()
    raise LabError(
        f"{release.address} is not the file that its checksum names, so it was not used",
        seen=f"SHA-256 {seen}, expected {expected}",
        todo="try again; if it stays so, something between you and the project changes downloads: "
        "ask who runs your network, or put the program on PATH yourself",
    )


def download(address: str, folder: Path, *, title: str) -> Path:
    """Download a file that the caller verifies.

    Raises:
        Unavailable: The host cannot be reached, does not have the file, or broke the download off twice.
    """
    file = folder / address.rsplit("/", 1)[-1]
    _download(address, file, title)
    return file


def parse_checksum(text: str, form: ChecksumFormat, asset: str) -> str | None:
    """The SHA-256 of an asset in a checksum file, in lower case; None if it is not there.

    Args:
        text: The file's content.
        form: `value` (the hash alone), `lines` (sha256sum's format) or `github-assets` (GitHub's release API:
            https://docs.github.com/rest/releases/releases#get-a-release-by-tag-name).
        asset: The file's name.
    """
    if form == "value":
        return _hash(text.strip())
    if form == "lines":
        for line in text.splitlines():
            words = line.split()
            if len(words) == 2 and words[1].removeprefix("*").rsplit("/", 1)[-1] == asset:
                return _hash(words[0])
        return None
    try:
        listed = json.loads(text)["assets"]
        digests = {entry["name"]: str(entry["digest"]) for entry in listed}
    except (ValueError, KeyError, TypeError):
        return None
    return _hash(digests.get(asset, "").removeprefix("sha256:"))


def unpack(file: Path, member: str, target: Path) -> None:
    """Put a downloaded program in its place.

    Args:
        file: The program itself, or an archive (.zip, or a tar file of any compression).
        member: Its path in the archive; empty if the file is the program.
        target: Where to put it; it becomes executable.

    Raises:
        LabError: The archive is broken, or the member is not in it.
    """
    try:
        if not member:
            shutil.copyfile(file, target)
        elif file.suffix == ".zip":
            with zipfile.ZipFile(file) as zipped, zipped.open(member) as content, target.open("wb") as out:
                shutil.copyfileobj(content, out)
        else:
            with tarfile.open(file) as tar:
                packed = tar.extractfile(member)
                if packed is None:
                    raise KeyError(f"{member} is no file")
                with packed as content, target.open("wb") as out:
                    shutil.copyfileobj(content, out)
    except (KeyError, *_BROKEN) as error:
        raise LabError(f"{file.name} does not unpack to {member}", seen=str(error)) from error
    target.chmod(0o755)


def unpack_tree(file: Path, place: Callable[[str], str | None], folder: Path) -> None:
    """Put files of a downloaded folder in their places; links, devices and what leads out are left out.

    Args:
        file: A tar file of any compression that holds one folder.
        place: The place below `folder` for a path below the one that was packed; None for a file not to be kept.
        folder: Where to put them.

    Raises:
        LabError: The archive is broken.
    """
    try:
        with tarfile.open(file) as tar:
            for entry in tar:
                inner = place(entry.name.removeprefix("./").partition("/")[2])
                packed = tar.extractfile(entry) if inner and entry.isfile() else None
                if inner is None or packed is None or _leads_out(inner):
                    continue
                target = folder / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed as content, target.open("wb") as out:
                    shutil.copyfileobj(content, out)
                target.chmod(0o755 if entry.mode & 0o100 else 0o644)
    except _BROKEN as error:
        raise LabError(f"{file.name} does not unpack", seen=str(error), todo="try again") from error


def _leads_out(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _hash(word: str) -> str | None:
    word = word.lower()
    return word if _SHA256.fullmatch(word) else None


def _expected(checksum: Checksum, asset: str) -> str:
    if checksum.sha256:
        return checksum.sha256
    with _client() as client:
        try:
            answer = client.get(checksum.address)
        except httpx.TransportError as error:
            raise _given_up(checksum.address, error) from error
    _assert_found(answer)
    found = parse_checksum(answer.text, checksum.format, asset)
    if found is None:
        raise Unavailable(f"{checksum.address} names no checksum for {asset}")
    return found


def _download(address: str, file: Path, title: str) -> str:
    attempts_left = _ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            return _stream(address, file, title)
        except httpx.TransportError as error:
            if not attempts_left or isinstance(error, _NO_CONNECTION):
                raise _given_up(address, error) from error


def _stream(address: str, file: Path, title: str) -> str:
    digest = hashlib.sha256()
    with _client() as client, client.stream("GET", address) as answer:
        _assert_found(answer)
        size = answer.headers.get("content-length")
        with (
            step(f"Downloading {title}", total=float(size) if size else None) as task,
            file.open("wb") as out,
        ):
            for chunk in answer.iter_raw():
                digest.update(chunk)
                out.write(chunk)
                task.update(out.tell(), f"{out.tell() / 1e6:.0f} MB")
    return digest.hexdigest()


def _given_up(address: str, error: httpx.TransportError) -> Unavailable:
    if isinstance(error, _NO_CONNECTION):
        return give_up(str(error.request.url), _said(error))
    return Unavailable(f"{address} broke off ({_said(error)})")


def _client() -> httpx.Client:
    return httpx.Client(
        follow_redirects=True,
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [lambda request: assert_reachable(str(request.url))]},
    )


def _assert_found(answer: httpx.Response) -> None:
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"{answer.request.url} answered {answer.status_code}")


def assert_reachable(address: str) -> None:
    """Refuse a host that was found unreachable; find out once, within seconds, also if its name hangs.

    Args:
        address: A URL. Behind a proxy it is the proxy's to find out.

    Raises:
        Unavailable: Its host cannot be reached.
    """
    url = httpx.URL(address)
    place, host = _place(url), url.host
    if place not in _unreachable and not _proxied(url.scheme, host):
        outcome = ["no answer"]

        def connect() -> None:
            try:
                socket.create_connection((host, int(place.rsplit(":", 1)[1])), timeout=CONNECT_SECONDS).close()
                outcome[0] = ""
            except OSError as error:
                outcome[0] = _said(error)

        trial = threading.Thread(target=connect, daemon=True)
        trial.start()
        trial.join(CONNECT_SECONDS)
        if outcome[0]:
            _unreachable[place] = outcome[0]
    if place in _unreachable:
        raise Unavailable(f"{host} cannot be reached ({_unreachable[place]})")


def give_up(address: str, reason: str) -> Unavailable:
    """Remember for the run that a URL's host cannot be reached.

    Returns:
        What to raise.
    """
    url = httpx.URL(address)
    _unreachable[_place(url)] = reason
    return Unavailable(f"{url.host} cannot be reached ({reason})")


def _place(url: httpx.URL) -> str:
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _proxied(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

"""The wheels of a requirements.txt, unpacked once and kept in the cache: pure Python, the same on every machine."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from labkit.errors import LabError
from labkit.paths import cache_dir
from labkit.process import run

PYTHON_VERSION = "3.11"  # the oldest Python that may run an image


class WheelsError(LabError):
    """The wheels of a requirements.txt cannot be had."""


def ensure_wheels(requirements: Path, *, timeout: float = 180.0) -> Path:
    """Download and unpack the wheels that a requirements.txt names.

    Only pure-Python wheels are taken and no dependencies of dependencies, so everything has to be named and pinned.
    Scripts of wheels are left out: they carry the path of one machine's Python.

    Args:
        requirements: The file.
        timeout: Seconds that the download may take.

    Returns:
        A folder for PYTHONPATH, not to be changed.

    Raises:
        WheelsError: A requirement has no pure-Python wheel or cannot be reached; pip's words.
    """
    content = requirements.read_bytes()
    key = hashlib.sha256(content + PYTHON_VERSION.encode()).hexdigest()[:24]
    folder = cache_dir() / "wheels" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _download(requirements, folder, timeout)
    return folder


def _download(requirements: Path, folder: Path, timeout: float) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheels, unpacked = Path(scratch) / "wheels", Path(scratch) / "unpacked"
        command: list[str | Path] = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"),
            *("--no-deps", "--only-binary=:all:", "--platform", "any", "--implementation", "py"),
            *("--abi", "none", "--python-version", PYTHON_VERSION),
            *("--dest", wheels, "--requirement", requirements),
        ]
        try:
            run(command, timeout=timeout)
        except LabError as error:
            raise WheelsError(
                f"The wheels of {requirements.parent.name}/{requirements.name} cannot be downloaded",
                seen=(error.seen or error.what).splitlines()[-1],
                todo="name pure-Python wheels only, pinned with `==`, and check the way to the package index",
            ) from error
        unpacked.mkdir()
        for wheel in sorted(wheels.glob("*.whl")):
            _unpack(wheel, unpacked)
        unpacked.rename(folder)


def _unpack(wheel: Path, into: Path) -> None:
    """Put a wheel's modules into a folder.

    Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts:
                raise WheelsError(f"{wheel.name} has a file outside of itself", seen=member.filename)
            if member.is_dir():
                continue
            if path.parts[0].endswith(".data"):
                if path.parts[1] != "purelib":
                    continue
                path = PurePosixPath(*path.parts[2:])
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)

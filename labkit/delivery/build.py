"""What CI does with one commit: run its unit tests, then build and push the images whose version is new."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from labkit.delivery.oci import Image, Registry, build_image
from labkit.delivery.tags import image_tag
from labkit.delivery.wheels import ensure_wheels
from labkit.errors import LabError

TEST_REQUIREMENTS = "requirements-test.txt"


@dataclass(frozen=True)
class UnitTests:
    """How the unit tests of a commit went, in pytest's own words."""

    passed: bool
    summary: str


@dataclass(frozen=True)
class BuildResult:
    """The images of a commit by name: those that are new, and those whose version was out already, unchanged."""

    pushed: dict[str, str]
    unchanged: dict[str, str]

    @property
    def summary(self) -> str:
        """One line for people."""
        words = []
        if self.pushed:
            words.append("pushed " + ", ".join(f"{tier} {tag}" for tier, tag in self.pushed.items()))
        if self.unchanged:
            words.append("unchanged " + ", ".join(f"{tier} {tag}" for tier, tag in self.unchanged.items()))
        return "; ".join(words)


@dataclass(frozen=True)
class Commit:
    """A commit, checked out in a folder of its own."""

    revision: str
    branch: str
    created: str
    source: Path
    url: str


def run_unit_tests(source: Path, parts: Sequence[str], log: IO[str], *, timeout: float) -> UnitTests:
    """Run pytest at the root of a checkout, with the requirements that the checkout names and no others.

    Args:
        source: The checkout.
        parts: Its folders that become images.
        log: Where pytest's output goes.
        timeout: Seconds that the tests may take.
    """
    files = [source / TEST_REQUIREMENTS, *(source / part / "requirements.txt" for part in parts)]
    missing = [file.relative_to(source).as_posix() for file in files if not file.is_file()]
    if missing:
        return UnitTests(False, f"{', '.join(missing)} is missing")
    wheels = list(dict.fromkeys(str(ensure_wheels(file)) for file in files))
    home = source.parent
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(wheels),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # -S leaves the packages of the lab itself out: the tests see what the images get.
    command = [sys.executable, "-S", "-m", "pytest", "-q", "-ra", "--color=no", "-p", "no:cacheprovider"]
    output = home / "pytest.out"
    with output.open("w+", errors="replace") as lines:
        with _ending(subprocess.Popen(command, cwd=source, env=environment, stdout=lines, stderr=lines)) as tests:
            try:
                code = tests.wait(timeout)
            except subprocess.TimeoutExpired:
                code = None
        lines.seek(0)
        said = lines.read()
    log.write(said)
    if code is None:
        return UnitTests(False, f"not done after {timeout:.0f} s")
    return UnitTests(code == 0, _summary(said, code))


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leave no process of a test run behind."""
    try:
        yield process
    finally:
        if process.poll() is None:
            for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                child.kill()
            process.wait()


def _summary(said: str, code: int) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip("= ") if lines else f"pytest ended with {code} and said nothing"
    failed = [line.split(" - ")[0].removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")]
    return f"{last}: {', '.join(failed)}" if failed else last


def build_images(commit: Commit, parts: Sequence[str], registry: Registry, organisation: str) -> BuildResult:
    """Build the image of every part, and push those whose tag is new.

    All are built and compared before the first is pushed, so that a refused one leaves nothing behind.

    Raises:
        LabError: A VERSION or Dockerfile is wrong, or a version is out already with other content.
        RegistryError: The registry does not answer, or refuses.
        WheelsError: The wheels of a requirements.txt cannot be had.
    """
    new: list[Image] = []
    unchanged = {}
    for part in parts:
        file = commit.source / part / "VERSION"
        if not file.is_file():
            raise LabError(f"{part}/VERSION is missing", todo="write MAJOR.MINOR.PATCH into it")
        try:
            tag = image_tag(file.read_text(), commit.branch, commit.revision)
        except LabError as error:
            raise LabError(f"{part}/{error.what}", todo=error.todo) from error
        image = build_image(commit.source, part, tag, commit.revision, created=commit.created, url=commit.url)
        published = registry.find(f"{organisation}/{part}", tag)
        if published is None:
            new.append(image)
        elif published.content_digest == image.content_digest:
            unchanged[part] = tag
        else:
            origin = published.labels.get("org.opencontainers.image.revision", "unknown")[:7]
            raise LabError(
                f"{part} {tag} is out already with other content (commit {origin})", todo=f"raise {part}/VERSION"
            )
    for image in new:
        registry.push(image, f"{organisation}/{image.tier}")
    return BuildResult({image.tier: image.version for image in new}, unchanged)

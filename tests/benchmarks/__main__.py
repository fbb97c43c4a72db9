"""`make bench`: start-up, memory, promotions and pods, on a lab of its own; `make bench SIZES="10 30"`: sizing.

Timings are measured here and not asserted in tests. Compare ratios within one run; absolute seconds are this machine's.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from pods import pod_figures
from sizing import sizing_figures

from labkit.clusters import kube
from labkit.config import APPLICATION, ARGOCD_NAMESPACE, Lab, choose, load_lab
from labkit.deploy import deploy
from labkit.down import down, lab_processes
from labkit.errors import LabError
from labkit.install import ensure_programs, up
from labkit.paths import LabHome
from labkit.process import free_port_range, proportional_set_size
from labkit.promotion import Freight, find_freight, freight_table, request_promotion, wait_for_promotion, wait_for_stage
from labkit.runner import run_notebooks
from labkit.services.argocd import APPLICATION_API, wait_for_application
from labkit.services.kargo import choose_engine, running_engine
from labkit.wait import wait_for

GIB = 2**30
ROUNDS = 8


def _seconds(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


@contextmanager
def _fresh_lab(pods: str) -> Iterator[Lab]:
    with tempfile.TemporaryDirectory() as folder:
        home = LabHome(Path(folder) / "lab")
        os.environ["LABKIT_HOME"] = str(home.root)
        lab = load_lab(home)
        os.environ.pop("LABKIT_PORT_BASE", None)
        lab = choose(lab, port_base=free_port_range(len(lab.port_range)), pods=pods)
        try:
            yield lab
        finally:
            down(lab, purge=True)


def _promotions(lab: Lab) -> Iterator[float]:
    """Seconds from request to a Promotion that succeeded and an Application that is Synced and Healthy."""
    pre = lab.environment("pre")
    candidates = [release.versions for release in lab.releases[:2]]
    freight = [item for versions in candidates for item in freight_table(lab) if item.versions == versions]
    for number in range(ROUNDS):
        chosen = find_freight(lab, freight[number % 2].name)

        def promote(chosen: Freight = chosen) -> None:
            wait_for_promotion(lab, request_promotion(lab, "pre", chosen))
            wait_for_application(lab, pre)

        yield _seconds(promote)
        wait_for_stage(lab, "pre", chosen)


def _syncs(lab: Lab) -> Iterator[float]:
    """Seconds of a bare Argo CD sync to the commit that is there already."""
    api = kube(lab, lab.environment("pre"))

    def finished() -> str:
        app = api.need(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE)
        return "" if app.get("operation") else app["status"]["operationState"]["phase"]

    for _ in range(ROUNDS):

        def sync() -> None:
            operation = {"operation": {"initiatedBy": {"username": "bench"}, "sync": {}}}
            api.patch(APPLICATION_API, "Application", APPLICATION, operation, ARGOCD_NAMESPACE)
            wait_for("a sync", finished, lambda phase: phase == "Succeeded", interval=0.02)

        yield _seconds(sync)


def _memory(lab: Lab) -> tuple[str, str]:
    """How many processes a lab has, and their memory in GiB."""
    pids = [process.pid for process in lab_processes(lab)]
    return str(len(pids)), f"{proportional_set_size(pids) / GIB:.2f}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} (median of {len(values)}; {min(values):.2f}-{max(values):.2f})"


def _measured(engine: str) -> dict[str, str]:
    """What was measured with one engine, by what it is."""
    os.environ["LABKIT_KARGO"] = engine
    rows: dict[str, str] = {}
    with _fresh_lab("process") as lab:
        ensure_programs(lab)
        rows["`labkit up` from nothing, s"] = f"{_seconds(lambda: up(lab)):.1f}"
        rows["`labkit up` again, s"] = f"{_seconds(lambda: up(lab)):.1f}"
        rows["`labkit deploy`, three releases, s"] = f"{_seconds(lambda: deploy(lab)):.1f}"
        rows["processes"], rows["memory of all processes (PSS), GiB"] = _memory(lab)
        rows["promotion, request to Synced and Healthy, s"] = _spread(list(_promotions(lab)))
        prod, newest = lab.environment("prod"), lab.releases[-1].versions["frontend"]
        rows |= dict(pod_figures(lab, prod, f"{lab.image('frontend')}:{newest}"))
        assert running_engine(lab) == engine
    with _fresh_lab("simulated") as lab:
        rows["pods simulated: `labkit up` from nothing, s"] = f"{_seconds(lambda: up(lab)):.1f}"
        rows["… `labkit deploy`, three releases, s"] = f"{_seconds(lambda: deploy(lab)):.1f}"
        rows["… processes"], rows["… memory of all processes (PSS), GiB"] = _memory(lab)
        promotions, syncs = list(_promotions(lab)), list(_syncs(lab))
        rows["… promotion, request to Synced and Healthy, s"] = _spread(promotions)
        rows["… bare Argo CD sync, s"] = _spread(syncs)
        rows["… promotion / bare sync"] = f"{statistics.median(promotions) / statistics.median(syncs):.1f}"
    with _fresh_lab("process") as lab:
        rows["notebooks 00-04 from nothing, s"] = f"{_seconds(lambda: run_notebooks(lab)):.1f}"
        rows["notebooks 00-04 again, s"] = f"{_seconds(lambda: run_notebooks(lab)):.1f}"
    return rows


def _sizing(engine: str, sizes: tuple[int, ...]) -> dict[str, str]:
    """What many applications cost with one engine, by what it is."""
    os.environ["LABKIT_KARGO"] = engine
    with _fresh_lab("simulated") as lab:
        up(lab)
        deploy(lab)
        assert running_engine(lab) == engine
        return dict(sizing_figures(lab, sizes))


def _engines() -> Iterator[str]:
    """The engines that can be had on this machine; says why one cannot."""
    lab = load_lab()
    for name in ("kargolite", "kargo"):
        try:
            choose_engine(replace(lab, settings=replace(lab.settings, kargo=name)))
        except LabError as error:
            print(f"{name} is not measured: {error}")
        else:
            yield name


def main() -> None:
    """Measure each engine that can be had, and print a table in Markdown.

    With numbers as arguments: what that many applications cost, instead of all the rest.
    """
    sizes = tuple(int(word) for word in sys.argv[1:])
    measured = {engine: _sizing(engine, sizes) if sizes else _measured(engine) for engine in list(_engines())}
    memory = psutil.virtual_memory().total / GIB
    print(f"\n{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}\n")
    print(f"| what | {' | '.join(measured)} |\n|---|{'---|' * len(measured)}")
    for what in next(iter(measured.values())):
        print(f"| {what} | {' | '.join(rows[what] for rows in measured.values())} |")


if __name__ == "__main__":
    main()

"""Kargo in gitops-dev: its API, the engine that reconciles it, and the lab's Project.

The engine is a choice (`LABKIT_KARGO`): `kargo`, the genuine control plane, or `kargolite`, the stand-in for
machines that cannot have it. Both serve the same API; nothing else in labkit asks which one runs.
"""

from labkit.services.kargo.engine import CONTROL_PLANE, Engine, choose_engine, ensure_engine
from labkit.services.kargo.genuine import ADMIN_PASSWORD
from labkit.services.kargo.install import ensure_kargo, kargo_pages, recorded_engine, running_engine
from labkit.services.kargo.project import KARGO_API, ensure_bare_project, ensure_project

__all__ = [
    "ADMIN_PASSWORD",
    "CONTROL_PLANE",
    "KARGO_API",
    "Engine",
    "choose_engine",
    "ensure_bare_project",
    "ensure_engine",
    "ensure_kargo",
    "ensure_project",
    "kargo_pages",
    "recorded_engine",
    "running_engine",
]

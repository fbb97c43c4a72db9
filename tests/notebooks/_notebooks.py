"""The notebooks as the tests read them: cells, what they call, what they change and what they check."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat

from labkit.paths import NOTEBOOKS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
# What changes something, of all that notebooks can call; an order that is placed to look at it is not meant.
CHANGES = {
    *("acknowledge", "approve", "build_feature", "build_hotfix", "build_release", "create_clusters"),
    *("create_freight", "down", "ensure_bug", "ensure_defect", "ensure_promotion", "ensure_releases_apart"),
    *("fix_defect", "freeze", "hold", "install_argocd", "install_kargo", "introduce_defect", "merge_hotfix"),
    *("preview_branch", "promote_freight", "reject", "release_branch", "request_promotion", "rollback"),
    *("sync_application", "take_schema_step", "try_rollback", "unfreeze", "unhold", "validate"),
}


def cells(file: Path, kind: str = "") -> list[Any]:
    """The cells of a notebook, or those of one kind."""
    return [cell for cell in nbformat.read(file, as_version=4).cells if kind in ("", cell.cell_type)]


def tree(cell: Any) -> ast.Module:
    """The code of a cell."""
    return ast.parse(cell.source)


def checked(cell: Any) -> str:
    """The name of the check that a cell makes, if it makes one and nothing else."""
    found = re.fullmatch(r'check\(lab, "([^"]+)"\)', cell.source)
    return found[1] if found else ""


def changes(cell: Any) -> bool:
    """Whether a cell calls what changes something."""
    calls = [node for node in ast.walk(tree(cell)) if isinstance(node, ast.Call)]
    return any(ast.unparse(call.func) in CHANGES or " scale " in ast.unparse(call) for call in calls)


def commands(file: Path) -> list[str]:
    """The kubectl commands that a notebook shows."""
    calls = [node for cell in cells(file, "code") for node in ast.walk(tree(cell)) if isinstance(node, ast.Call)]
    return [call.args[1].value for call in calls if ast.unparse(call.func) == "kubectl"]


def only_reads(file: Path) -> bool:
    """Whether a notebook changes nothing."""
    return not any(changes(cell) for cell in cells(file, "code"))

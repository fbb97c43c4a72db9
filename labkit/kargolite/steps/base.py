"""What a promotion step is given, what it returns, and how its configuration is checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.asynckube.informer import Informer
from labkit.asynckube.objects import Obj
from labkit.kargolite.credentials import Credentials, git_credentials


class StepError(Exception):
    """A step could not do its work; it may be tried again, up to its error threshold."""


class StepFailure(Exception):  # noqa: N818 (Kargo tells Failed from Errored)
    """A step found that the Promotion cannot succeed: its status is Failed, and it is not tried again."""

    def __init__(self, what: str, output: Obj | None = None) -> None:
        self.output = output
        super().__init__(what)


@dataclass(frozen=True)
class StepResult:
    """What a step that did not fail says.

    Attributes:
        status: `Succeeded`, `Skipped` or `Running`.
        output: What later steps read as `outputs.<alias>`.
        health_check: What the Stage's health depends on from now on.
        look_again: Seconds after which a running step wants to be called again.
    """

    status: str = "Succeeded"
    output: Obj | None = None
    health_check: Obj | None = None
    look_again: float | None = None


@dataclass(frozen=True)
class StepContext:
    """What a step works with.

    Attributes:
        work: The Promotion's own folder.
        project: Its namespace.
        stage: Its Stage.
        promotion: Its name.
        actor: Who asked for it, "" if nobody did.
        alias: The step's own.
        state: Outputs of the steps so far.
        freight: All Freight in the collection, for images that are not listed.
        secrets: The Secrets of the Project's namespace.
        applications: The Applications that the Stage's Argo CD has.
        argocd_namespace: Where they are, unless said otherwise.
    """

    work: Path
    project: str
    stage: str
    promotion: str
    actor: str
    alias: str
    state: Mapping[str, Any]
    freight: tuple[Obj, ...]
    secrets: Callable[[], Iterable[Obj]]
    applications: Informer
    argocd_namespace: str

    def path(self, relative: str) -> Path:
        """A path of the configuration, which cannot lead out of the Promotion's folder.

        Raises:
            StepError: It leads out.
        """
        root = self.work.resolve()
        found = (root / relative.lstrip("/")).resolve()
        if not found.is_relative_to(root):
            raise StepError(f"path {relative} leads out of the promotion's working directory")
        return found

    def git_credentials(self, url: str) -> Credentials | None:
        """The Project's credentials for a Git repository."""
        return git_credentials(self.secrets(), url)


Run = Callable[[StepContext, Obj], Awaitable[StepResult]]


@dataclass(frozen=True)
class Step:
    """A kind of step: its configuration's shape, what it does, and when it is given up by default."""

    shape: Obj
    run: Run
    timeout: float = 0.0


@dataclass(frozen=True)
class Field:
    """One value of a configuration.

    Attributes:
        kind: `string`, `integer`, `boolean`, `array` or `object`.
        required: Whether it must be there.
        items: The shape of an object, or of a list's objects.
        choices: The only values.
        elsewhere: Kargo has this, kargolite has not.
    """

    kind: str = "string"
    required: bool = False
    items: Obj | None = None
    choices: tuple[str, ...] = ()
    elsewhere: bool = False


_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def problems(config: Any, shape: Mapping[str, Field], where: str = "(root)") -> list[str]:
    """What is wrong with a configuration, in the words of Kargo's JSON schema check."""
    inside = "" if where == "(root)" else f"{where}."
    found = [f"{where}: {name} is required" for name, field in shape.items() if field.required and name not in config]
    found += [f"{where}: Additional property {name} is not allowed" for name in config if name not in shape]
    for name, field in shape.items():
        if name in config:
            found += _value_problems(config[name], field, inside + name)
    return found


def elsewhere(config: Any, shape: Mapping[str, Field]) -> list[str]:
    """The values of a valid configuration that kargolite cannot follow."""
    found = []
    for name, field in shape.items():
        if name not in config or config[name] in (None, "", False, [], {}):
            continue
        if field.elsewhere:
            found.append(name)
        elif field.items is not None:
            values = config[name] if isinstance(config[name], list) else [config[name]]
            found += [f"{name}.{inner}" for value in values for inner in elsewhere(value, field.items)]
    return found


def _value_problems(value: Any, field: Field, where: str) -> list[str]:
    if _type_name(value) != field.kind:
        return [f"{where}: Invalid type. Expected: {field.kind}, given: {_type_name(value)}"]
    if field.required and field.kind == "string" and not value:
        return [f"{where}: String length must be greater than or equal to 1"]
    if field.required and field.kind == "array" and not value:
        return [f"{where}: Array must have at least 1 items"]
    if field.choices and value not in field.choices:
        listed = ", ".join(f'"{choice}"' for choice in field.choices)
        return [f"{where}: {where} must be one of the following: {listed}"]
    if field.items is None:
        return []
    if field.kind == "object":
        return problems(value, field.items, where)
    return [
        problem for index, item in enumerate(value) for problem in _item_problems(item, field.items, f"{where}.{index}")
    ]


def _item_problems(item: Any, shape: Obj, where: str) -> list[str]:
    if not isinstance(item, dict):
        return [f"{where}: Invalid type. Expected: object, given: {_type_name(item)}"]
    return problems(item, shape, where)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return next(
        (name for name in ("boolean", "string", "integer", "array", "object") if isinstance(value, _TYPES[name])),
        "number",
    )

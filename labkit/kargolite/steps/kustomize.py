"""kustomize-set-image and kustomize-build."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from labkit.asynckube.objects import Obj
from labkit.kargolite.steps.base import Field, Step, StepContext, StepError, StepResult

_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KEEP = "*"


async def _set_image(context: StepContext, config: Obj) -> StepResult:
    path = config["path"]
    file = _kustomization(context, path)
    listed = config.get("images") or []
    wanted = _listed_images(listed) if listed else _freight_images(context)
    message = _commit_message(path, wanted)
    kustomization = yaml.safe_load(file.read_text()) or {}
    kustomization["images"] = _merged(kustomization.get("images") or [], wanted)
    file.write_text(yaml.dump(kustomization, Dumper=_Dumper, sort_keys=False))
    return StepResult(output={"commitMessage": message} if message else None)


def _kustomization(context: StepContext, path: str) -> Path:
    folder = context.path(path)
    found = [folder / name for name in _FILES if (folder / name).is_file() and not (folder / name).is_symlink()]
    if len(found) == 1:
        return found[0]
    problem = (
        f'ambiguous result: found multiple Kustomization files in "{path}": {[file.name for file in found]}'
        if found
        else f'could not find any Kustomization files in "{path}"'
    )
    raise StepError(f"could not discover kustomization file: {problem}")


def _listed_images(images: list[Obj]) -> dict[str, Obj]:
    wanted = {}
    for image in images:
        entry: Obj = {"name": image.get("name") or image["image"]}
        if image.get("newName"):
            entry["newName"] = image["newName"]
        if image.get("digest"):
            entry["digest"] = image["digest"]
        elif image.get("tag"):
            entry["newTag"] = image["tag"]
        wanted[entry["name"]] = entry
    return wanted


def _freight_images(context: StepContext) -> dict[str, Obj]:
    wanted: dict[str, Obj] = {}
    for freight in context.freight:
        for image in freight.get("images") or []:
            if image["repoURL"] in wanted:
                raise StepError("manual configuration required due to ambiguous result")
            entry = {"name": image["repoURL"], "newTag": image.get("tag"), "digest": image.get("digest")}
            wanted[image["repoURL"]] = {key: value for key, value in entry.items() if value}
    return wanted


def _commit_message(path: str, images: dict[str, Obj]) -> str:
    if not images:
        return ""
    lines = [f"Updated {path} to use new image{'s' if len(images) > 1 else ''}", ""]
    for name in sorted(images):
        image = images[name]
        reference = image.get("newName") or name
        reference += f":{image['newTag']}" if image.get("newTag") else ""
        reference += f"@{image['digest']}" if image.get("digest") else ""
        lines.append(f"- {reference}")
    return "\n".join(lines)


def _merged(current: list[Obj], wanted: dict[str, Obj]) -> list[Obj]:
    """The images that stay and those that change; `*` keeps what is there."""
    before = {image["name"]: image for image in current}
    merged = before | {
        name: {
            key: before.get(name, {}).get(key) if value == _KEEP and key != "name" else value
            for key, value in image.items()
        }
        for name, image in wanted.items()
    }
    return [{key: _Quoted(value) for key, value in merged[name].items() if value} for name in sorted(merged)]


async def _build(context: StepContext, config: Obj) -> StepResult:
    source, target = context.path(config["path"]), context.path(config["outPath"])
    try:
        if target.suffix in (".yaml", ".yml"):
            target.parent.mkdir(parents=True, exist_ok=True)
            await _kustomize(context, source, target)
        else:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=context.work) as folder:
                await _kustomize(context, source, Path(folder))
                keep_name = config.get("outputFormat") == "kustomize"
                for file in sorted(Path(folder).iterdir()):
                    name = file.name if keep_name else _file_name(yaml.safe_load(file.read_text()))
                    shutil.move(file, target / name)
    except OSError as error:
        raise StepError(f'failed to write built manifests to "{config["outPath"]}": {error.strerror}') from error
    return StepResult()


async def _kustomize(context: StepContext, source: Path, output: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "kustomize",
        "build",
        "--load-restrictor=LoadRestrictionsNone",
        f"--output={output}",
        str(source),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    if process.returncode:
        said = error.decode(errors="replace").strip().removeprefix("Error: ")
        raise StepError(said.replace(f"{context.work.resolve()}/", "./"))


def _file_name(manifest: Obj) -> str:
    """`<namespace>-<kind>-<name>.yaml`, as Kargo writes each resource to a file of its own."""
    metadata = manifest["metadata"]
    parts = (metadata.get("namespace"), manifest["kind"], metadata["name"])
    name = "-".join(part for part in parts if part).lower() + ".yaml"
    if "/" in name or "\\" in name or name.startswith(".."):
        raise StepError(f'unsafe generated resource filename "{name}"')
    return name


class _Quoted(str):
    """A string that is written in quotes, so that no YAML reader takes `1e3` for a number."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Quoted` strings in quotes."""


def _represent_quoted(dumper: Any, value: _Quoted) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"')


_Dumper.add_representer(_Quoted, _represent_quoted)

KUSTOMIZE_STEPS = {
    "kustomize-set-image": Step(
        {
            "path": Field(required=True),
            "images": Field(
                "array",
                items={
                    "image": Field(required=True),
                    "name": Field(),
                    "newName": Field(),
                    "tag": Field(),
                    "digest": Field(),
                },
            ),
        },
        _set_image,
    ),
    "kustomize-build": Step(
        {
            "path": Field(required=True),
            "outPath": Field(required=True),
            "outputFormat": Field(choices=("kargo", "kustomize")),
            "plugin": Field("object", elsewhere=True),
        },
        _build,
    ),
}

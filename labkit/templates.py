"""Manifests and settings are data: this fills the lab's values into them.

Values stand between `<<` and `>>`, so that Kargo's own `${{ … }}` expressions pass through untouched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import yaml

from labkit.errors import LabError
from labkit.paths import DATA

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(DATA),
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(name: str, **values: Any) -> str:
    """A file of `data/` with its values filled in.

    Args:
        name: The file's path below `data/`.
        values: What the file asks for.

    Raises:
        LabError: The file asks for a value that was not given, or cannot be parsed.
    """
    try:
        return _environment.get_template(name).render(**values)
    except jinja2.TemplateError as error:
        raise LabError(f"data/{name} could not be filled in", seen=str(error)) from error


def manifests(name: str, **values: Any) -> list[dict[str, Any]]:
    """The Kubernetes objects in a YAML file of `data/`, its values filled in."""
    return parsed_manifests(render(name, **values))


def read_manifests(*files: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects in plain YAML files."""
    return [document for file in files for document in parsed_manifests(file.read_text())]


# CustomResourceDefinitions are large: libyaml parses them eight times as fast, where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parsed_manifests(text: str) -> list[dict[str, Any]]:
    """The Kubernetes objects in a YAML text."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]

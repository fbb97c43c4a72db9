"""kubectl for the notebooks: the command as a learner would type it, and what it prints."""

from __future__ import annotations

import html
import os
import shlex
from dataclasses import dataclass

from labkit.config import Lab
from labkit.errors import UsageError
from labkit.process import run


@dataclass(frozen=True)
class Shown:
    """A command and its output."""

    command: str
    output: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.output}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return (
            "<pre style='overflow-x:auto;white-space:pre;font-family:monospace;font-size:90%'>"
            f"<b>$ {html.escape(self.command)}</b>\n"
            f"{html.escape(self.output)}</pre>"
        )


def kubectl(lab: Lab, command: str) -> Shown:
    """Run a kubectl command against the lab's own kubeconfig and show it with its output.

    Args:
        lab: The lab.
        command: The whole command, beginning with `kubectl`, as it can be typed after `eval "$(labkit env)"`.

    Raises:
        UsageError: It is not a kubectl command.
        LabError: kubectl failed; gives its own words.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command!r} is not a command", seen=str(error)) from error
    if words[:1] != ["kubectl"]:
        raise UsageError(f"{command!r} is not a kubectl command")
    environment = {
        "KUBECONFIG": str(lab.home.kubeconfig),
        "KUBECACHEDIR": str(lab.home.kubectl_cache),
        "PATH": f"{lab.home.bin}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    return Shown(command, run([lab.home.bin / "kubectl", *words[1:]], env=environment).rstrip())

"""The board as a page of its own, without Jupyter's editor around it: `labkit board`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

from traitlets.config import Config
from voila.app import Voila

from labkit.config import Lab
from labkit.paths import DATA
from labkit.process import LOOPBACK, assert_ports_free

_NOTEBOOK = DATA / "pipeline" / "board.ipynb"
_TEMPLATE = DATA / "pipeline" / "page"
_UNSEEN_SECONDS = 30


def serve_board(lab: Lab, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve the board until Ctrl-C or SIGTERM; its kernels end with it.

    Args:
        lab: The lab.
        port: Where to listen, on this machine alone.
        ready: Told the page's address, with the token without which nobody is let in.

    Raises:
        LabError: The port is taken.
    """
    assert_ports_free({"the board": port}, todo="stop that process, or give another port: `labkit board --port N`")
    # The page's kernel is a process of its own.
    os.environ["LABKIT_HOME"] = str(lab.home.root)
    token = secrets.token_urlsafe(16)
    server = Voila(
        notebook_path=str(_NOTEBOOK),
        ip=LOOPBACK,
        port=port,
        port_retries=0,
        token=token,
        open_browser=False,
        log_level="ERROR",
        config=_kernels_end_when_nobody_looks(),
    )
    server.initialize([])
    server.template_paths.insert(0, str(_TEMPLATE))
    ready(f"http://{LOOPBACK}:{port}/?token={token}")
    server.start()


def _kernels_end_when_nobody_looks() -> Config:
    """Each page has a kernel of its own, which would go on looking at the lab when the page is closed."""
    config = Config()
    config.MappingKernelManager.cull_idle_timeout = _UNSEEN_SECONDS
    config.MappingKernelManager.cull_interval = _UNSEEN_SECONDS // 2
    # What a board shows by itself is no sign of somebody who looks.
    config.MappingKernelManager.untracked_message_types.append("comm_msg")
    return config

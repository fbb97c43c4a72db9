"""A real browser, JupyterLab in it, and what a learner does there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from labkit.paths import NOTEBOOKS, REPO
from labkit.process import LOOPBACK, PYTHON
from labkit.wait import wait_for

SCREENSHOTS = REPO / "build" / "screenshots"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_NO_NEWS = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
# A kernel that is ended at once has not answered the debugger's first question.
_OF_NO_CONCERN = ("Could not restore the debugger state",)
_AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

_OPEN = """async path => {
  const panel = await window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
  await panel.context.ready;
  await panel.sessionContext.ready;
  return {
    cells: panel.content.widgets.length,
    kernel: panel.sessionContext.session?.kernel?.name ?? '',
  };
}"""
_CLOSE = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.revert();
  await panel.sessionContext.shutdown();
  panel.dispose();
}"""
_STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.filter(cell => cell.model.type === 'code');
  const outputs = cells.flatMap(cell => cell.model.outputs.toJSON());
  return {
    left: cells.filter(cell => cell.model.executionCount === null).length,
    errors: outputs.filter(item => item.output_type === 'error').map(item => `${item.ename}: ${item.evalue}`),
  };
}"""
_SCROLL = """async index => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  await notebook.scrollToItem(index, 'center');
}"""


def browser_on_path() -> str | None:
    """Chromium or Chrome, where there is one."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextmanager
def started_browser(program: str) -> Iterator[Browser]:
    """That browser, without a window."""
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if _AS_ROOT else [])
        yield browser
        browser.close()


@contextmanager
def served(command: list[str], url: str, variables: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from its first answer to Ctrl-C."""
    with log.open("wb") as file, subprocess.Popen(command, env=dict(variables), stdout=file, stderr=file) as server:
        try:
            wait_for(
                f"{url} to answer",
                lambda: httpx.get(url, trust_env=False, follow_redirects=True).is_success,
                failed=lambda _: server.poll() is not None,
                tolerate=(httpx.TransportError,),
                describe=lambda _: log.read_text(errors="replace")[-2000:],
                timeout=60,
            )
            yield server
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
                # JupyterLab asks whether that was meant.
                server.send_signal(signal.SIGTERM)
            server.wait(30)


@contextmanager
def jupyterlab(folder: Path, port: int, variables: Mapping[str, str]) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks, with settings of its own.

    Returns:
        Its address.
    """
    notebooks, token = folder / "notebooks", secrets.token_urlsafe(16)
    shutil.copytree(NOTEBOOKS, notebooks, ignore=shutil.ignore_patterns(".*"))
    for name, settings in _NO_NEWS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    own = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    options = [
        "--no-browser",
        f"--ip={LOOPBACK}",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={notebooks}",
        "--LabApp.expose_app_in_browser=True",
        *(["--allow-root"] if _AS_ROOT else []),
    ]
    url = f"http://{LOOPBACK}:{port}/lab?token={token}"
    command = [PYTHON, "-m", "jupyterlab", *options]
    with served(command, url, {**variables, **own}, folder / "jupyterlab.log"):
        yield url


class JupyterLab:
    """JupyterLab in a browser, as whoever sits before it sees it.

    Args:
        page: A page of the browser.
        url: JupyterLab's address.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._heard)
        page.goto(url)
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.evaluate("async () => { await window.jupyterapp.restored; }")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_OF_NO_CONCERN):
            self.troubles.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, name: str) -> Any:
        """Open a notebook; says how many cells are shown and which kernel was started."""
        return self.page.evaluate(_OPEN, f"{name}.ipynb")

    def close(self) -> None:
        """Close the notebook without saving it, and end its kernel."""
        self.page.evaluate(_CLOSE)

    def run_all(self, *, timeout: float = 120) -> None:
        """Run all cells by the menu, and wait for the last; raises where one fails."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        wait_for(
            "all cells to be executed",
            lambda: self.page.evaluate(_STATE),
            lambda state: state["left"] == 0 and not state["errors"],
            failed=lambda state: bool(state["errors"]),
            timeout=timeout,
        )

    def chart(self, index: int) -> Locator:
        """The drawing that a cell shows, once the cell is in sight."""
        self.page.evaluate(_SCROLL, index)
        shown = self.page.locator(f'.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell[data-windowed-list-index="{index}"]')
        return shown.locator(".js-plotly-plot .main-svg").first

    def picture(self, name: str) -> Path:
        """Keep what is seen now."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        file = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=file)
        return file

"""Commands for the lab as a whole: what runs, what comes up, what goes down."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import click

from labkit import clusters as lab_clusters
from labkit import deploy as lab_deploy
from labkit import install
from labkit.cli.shared import cli, out, output, show
from labkit.config import (
    ENGINES,
    EXTRAS,
    PODS,
    PROVIDERS,
    TRAFFIC,
    Existing,
    Lab,
    Minikube,
    asked_for,
    choose,
    load_lab,
)
from labkit.delivery.defects import defect_table
from labkit.delivery.schema_steps import schema_step_table
from labkit.demo_app import schema_table
from labkit.down import down as lab_down
from labkit.errors import LabError
from labkit.incluster import installations
from labkit.lock import changing
from labkit.preflight import assert_machine
from labkit.preflight import preflight as lab_preflight
from labkit.services.supervisor import Supervisor
from labkit.status import lab_status
from labkit.toolchain import ensure_tools, find_tools
from labkit.urls import lab_urls


@contextmanager
def _creating(**choices: Any) -> Iterator[Lab]:
    """Hold the lab for its creation; on a machine that cannot carry it, not even its folder is made.

    What can be left out is chosen once it can be had: a choice that is kept would be asked for ever after.
    """
    lab = asked_for(load_lab(), **choices)
    if not lab.home.is_lab:
        assert_machine(lab)
    ensure_tools(lab.settings.extras)
    with changing(choose(lab)):
        yield lab


_confirm = click.option(
    "--confirm",
    "confirmed",
    multiple=True,
    metavar="CONTEXT",
    help="Install into this context although it looks like somebody's production.",
)


def _creation(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--provider", type=click.Choice(PROVIDERS), help="Kind of clusters."),
        click.option("--port-base", type=int, help="First of the lab's ports."),
        click.option("--kargo", type=click.Choice(ENGINES), help="Who reconciles Kargo's resources."),
        click.option("--pods", type=click.Choice(PODS), help="What the demo app's pods are."),
        click.option("--traffic", type=click.Choice(TRAFFIC), help="Whether people use the demo app all the time."),
        click.option("--with", "extras", type=click.Choice(EXTRAS), multiple=True, help="Add it to the lab, for good."),
        _confirm,
    ):
        command = option(command)
    return command


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, _, value in pairs:
        if not name or not value:
            raise click.BadParameter("give it as ENVIRONMENT=VALUE")
    return {name: value for name, _, value in pairs}


@cli.command()
@click.option("--provider", type=click.Choice(PROVIDERS), required=True, help="Kind of clusters.")
@click.option(
    *("--context", "contexts"),
    multiple=True,
    callback=_pairs,
    metavar="ENVIRONMENT=CONTEXT",
    help="existing: the context of an environment's cluster.",
)
@click.option("--kubeconfig", default="~/.kube/config", show_default=True, help="existing: the file with the contexts.")
@click.option(
    *("--server", "servers"),
    multiple=True,
    callback=_pairs,
    metavar="ENVIRONMENT=URL",
    help="existing: the address of an API server from inside gitops-dev, where it is not the kubeconfig's.",
)
@click.option("--without", multiple=True, metavar="COMPONENT", help="What is not installed, for it is there already.")
@click.option("--driver", default="", help="minikube: its driver.")
@click.option("--scale", default=1.0, show_default=True, help="minikube: what sizes are multiplied with.")
@_confirm
@output
def init(
    provider: str,
    contexts: dict[str, str],
    kubeconfig: str,
    servers: dict[str, str],
    without: tuple[str, ...],
    driver: str,
    scale: float,
    confirmed: tuple[str, ...],
    output: str,
) -> None:
    """Choose the clusters of a lab; nothing is installed or started yet."""
    lab = asked_for(
        load_lab(),
        provider=provider,
        existing=Existing(kubeconfig, contexts, servers) if provider == "existing" else None,
        minikube=Minikube(driver, scale) if provider == "minikube" else None,
        without=without,
        confirmed=confirmed,
    )
    if lab.settings.in_cluster:
        installations(lab)
    lab_clusters.provider(lab).check()
    choose(lab)
    if output == "json":
        click.echo(json.dumps(asdict(lab.settings), indent=2))
    else:
        out.print(f"Kept in {lab.home.settings}. `labkit preflight` looks at the clusters, `labkit up` installs.")


@cli.command()
@_creation
def up(**choices: Any) -> None:
    """Create the clusters and everything in and around them; what runs is left alone."""
    with _creating(**choices) as lab:
        if lab.settings.in_cluster:
            install.create_clusters(lab)
            out.print(install.install_into_clusters(lab))
            return
        engine = install.up(lab)
    out.print(f"Kargo's resources are reconciled by {engine.name}: {engine.why}.")
    out.print(lab_urls(lab))


@cli.command()
def setup() -> None:
    """Install Gitea, Argo CD and Kargo in and around the clusters."""
    lab = load_lab()
    with changing(lab):
        if lab.settings.in_cluster:
            out.print(install.install_into_clusters(lab))
            return
        engine = install.setup(lab)
    out.print(f"Kargo's resources are reconciled by {engine.name}: {engine.why}.")


@cli.command()
@output
def uninstall(output: str) -> None:
    """Take out of clusters that are not embedded what the lab has installed; shows what had to be left."""
    lab = load_lab()
    with changing(lab):
        show(install.uninstall(lab), output)


@cli.command()
@output
def deploy(output: str) -> None:
    """Build the demo app's releases and promote each as far as it has come."""
    lab = load_lab()
    with changing(lab):
        stages = lab_deploy.deploy(lab)
    show(stages, output)


@cli.group()
def defect() -> None:
    """Known defects of the demo app, to see which gate stops them."""


@defect.command("list")
@output
def defect_list(output: str) -> None:
    """What there is, and what is there to stop it."""
    show(defect_table(), output)


def _defect_command(name: str, act: Callable[[Lab, str], Any], about: str) -> None:
    @defect.command(name, help=about)
    @click.argument("defect_name", metavar="NAME")
    @output
    def command(defect_name: str, output: str) -> None:
        lab = load_lab()
        with changing(lab):
            show(act(lab, defect_name), output)


_defect_command("introduce", lab_deploy.introduce_defect, "Push one to main, and wait for its Freight.")
_defect_command("fix", lab_deploy.fix_defect, "Push the commit that takes it back, and wait for its Freight.")


@cli.group()
def schema() -> None:
    """A schema change of the demo app in steps, each a commit and a Freight of its own."""


@schema.command("list")
@output
def schema_list(output: str) -> None:
    """The steps, in their order."""
    show(schema_step_table(), output)


@schema.command("push")
@click.argument("name")
@output
def schema_push(name: str, output: str) -> None:
    """Push a step to main, and wait for its Freight."""
    lab = load_lab()
    with changing(lab):
        show(lab_deploy.take_schema_step(lab, name), output)


@schema.command("show")
@output
def schema_show(output: str) -> None:
    """What each environment's database says of its schema."""
    show(schema_table(load_lab()), output)


@cli.command()
@click.argument("name", default="")
@click.option("--solution", is_flag=True, help="Of an exercise: show the commands that solve it.")
@output
def check(name: str, solution: bool, output: str) -> None:
    """Check a piece of work: done, not yet or wrong, with a hint. Without a NAME: what can be checked."""
    # Tables take longer to import than all else together, and most commands do without.
    from labkit import checks

    if solution:
        click.echo(checks.solution(name))
    elif not name:
        show(checks.check_table(), output)
    else:
        show(checks.check(load_lab(), name), output)


@cli.command()
@click.option("--purge", is_flag=True, help="Delete the lab's folder too.")
def down(purge: bool) -> None:
    """Stop everything that belongs to the lab."""
    lab = load_lab()
    with nullcontext() if lab.home.is_empty or lab.home.objection else changing(lab):
        lab_down(lab, purge=purge)


@cli.command()
@output
def status(output: str) -> None:
    """Clusters, services, Applications and Stages."""
    show(lab_status(load_lab()), output)


@cli.command()
@output
def preflight(output: str) -> None:
    """Can this machine carry the lab?"""
    findings = lab_preflight(load_lab())
    show(findings, output)
    if not findings.passed:
        raise LabError("This machine cannot carry the lab as it is", todo="see the last column above")


@cli.command()
@click.option("--fetch", is_flag=True, help="Get what is missing.")
@output
def tools(fetch: bool, output: str) -> None:
    """External programs: versions, and where each comes from."""
    show(ensure_tools() if fetch else find_tools(), output)


@cli.group()
def clusters() -> None:
    """The three clusters."""


@clusters.command("create")
@_creation
@output
def clusters_create(output: str, **choices: Any) -> None:
    """Create gitops-dev, gitops-pre and gitops-prod, side by side."""
    with _creating(**choices) as lab:
        show(install.create_clusters(lab), output)


def _cluster_command(name: str, act: Callable[[Lab], Any], about: str) -> None:
    @clusters.command(name, help=about)
    @output
    def command(output: str) -> None:
        lab = load_lab()
        with changing(lab):
            show(act(lab), output)


_cluster_command("start", install.start_clusters, "Start clusters that were stopped.")
_cluster_command("stop", install.stop_clusters, "Stop the clusters, keeping their state.")
_cluster_command("delete", install.delete_clusters, "Delete the clusters and their state.")


@clusters.command("status")
@output
def clusters_status(output: str) -> None:
    """How the clusters are."""
    show(lab_clusters.cluster_status(load_lab()), output)


@cli.command()
@click.argument("name")
@click.option("--lines", default=100, show_default=True, help="How many of the last lines.")
@output
def logs(name: str, lines: int, output: str) -> None:
    """The last lines of a service's log."""
    found = Supervisor(load_lab()).log_lines(name, lines)
    click.echo(json.dumps(found, indent=2) if output == "json" else "\n".join(found))


@cli.command()
@output
def env(output: str) -> None:
    """Variables for a shell: `eval "$(labkit env)"`, then use kubectl."""
    home = load_lab().home
    variables = {
        "LABKIT_HOME": str(home.root),
        "KUBECONFIG": str(home.kubeconfig),
        "KUBECACHEDIR": str(home.kubectl_cache),
    }
    if output == "json":
        click.echo(json.dumps({**variables, "PATH": f"{home.bin}{os.pathsep}{os.environ.get('PATH', '')}"}, indent=2))
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f'export PATH={shlex.quote(str(home.bin))}:"$PATH"')


@cli.command()
@output
def urls(output: str) -> None:
    """Addresses, accounts and where their passwords are."""
    show(lab_urls(load_lab()), output)


@cli.command()
@click.argument("notebooks", nargs=-1)
def run(notebooks: tuple[str, ...]) -> None:
    """Run the notebooks headless; all that bring up the lab, or those named."""
    # Takes longer to import than all else together, and no other command needs it.
    from labkit.runner import notebook_files, run_notebooks

    names = [file.stem for file in notebook_files(notebooks)]
    with _creating() as lab:
        # Here, where its progress can be seen: the first time it may take minutes.
        install.ensure_programs(lab)
        folder = run_notebooks(lab, names)
    out.print(f"Executed notebooks and report: {folder}")
    if not lab.settings.in_cluster:
        out.print(lab_urls(load_lab()))

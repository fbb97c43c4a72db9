"""Commands on Kargo's resources: look, promote, sign off, approve, go back, hold, freeze."""

from __future__ import annotations

import shlex

import click

from labkit import promotion
from labkit.cli.shared import as_user, cli, output, show
from labkit.config import Lab, load_lab
from labkit.errors import UsageError


@cli.command()
@click.argument("words", nargs=-1)
@click.option("--from", "source", help="Stage whose Freight is promoted.")
@click.option("--to", "target", help="Stage that takes it.")
@click.option("--app", default="demo-app", show_default=True, help="The application.")
@click.option("--freight", help="Alias or name of the Freight, where it is not what runs in --from.")
@click.option("--approve", is_flag=True, help="Approve and merge the pull request as release-manager.")
@as_user
@click.option("--emergency", is_flag=True, help="Pass a freeze; needs --reason, and is recorded.")
@click.option("--reason", default="", help="Why, for the record.")
@output
def promote(
    words: tuple[str, ...],
    source: str | None,
    target: str | None,
    app: str,
    freight: str | None,
    approve: bool,
    person: str,
    emergency: bool,
    reason: str,
    output: str,
) -> None:
    """Promote: `--from dev --to pre`, or `stage dev-to-pre`."""
    lab = load_lab()
    if words:
        if len(words) != 2 or words[0] != "stage" or "-to-" not in words[1] or source or target:
            raise UsageError(
                f"`labkit promote {shlex.join(words)}` is not understood",
                todo="write `labkit promote stage dev-to-pre` or `labkit promote --from dev --to pre`",
            )
        source, target = words[1].split("-to-", 1)
    if not source or not target:
        raise UsageError("Promote from where to where?", todo="write `labkit promote --from dev --to pre`")
    if app != "demo-app":
        raise UsageError(f"There is no application {app!r}", todo="the lab has one: demo-app")
    if emergency and not reason:
        raise UsageError("An emergency needs its reason", todo='add `--reason "…"`')
    done = promotion.promote(
        lab,
        source,
        target,
        freight=freight,
        approved=approve,
        as_user=person,
        reason=reason,
        emergency=reason if emergency else "",
    )
    show(done, output)
    _say_who(lab, done[0])


def _say_who(lab: Lab, done: promotion.Promotion) -> None:
    """Who did what: on standard error, so that JSON stays JSON."""
    said = f"Requested as {done.requester}"
    for pull in promotion.pull_request(lab, done):
        said += f", merged as {pull.merged_by}" if pull.merged_by else f"; waits for its pull request: {pull.url}"
    click.echo(f"{said}.", err=True)


@cli.command()
@click.argument("stage", default="pre")
@click.option("--reject", is_flag=True, help="It will not do; needs --reason.")
@click.option("--reason", default="", help="What was seen.")
@as_user
@output
def validate(stage: str, reject: bool, reason: str, person: str, output: str) -> None:
    """Sign off what runs in a Stage, as qa."""
    show(promotion.validate(load_lab(), stage, reject=reject, reason=reason, as_user=person), output)


@cli.command()
@click.argument("name", default="")
@click.option("--reason", default="", help="What the approval says.")
@as_user
@output
def approve(name: str, reason: str, person: str, output: str) -> None:
    """Approve and merge the Promotion that waits for PROD (or the one of that NAME), as release-manager."""
    lab = load_lab()
    done = promotion.finish(lab, _waiting(lab, name), approved=True, as_user=person, words=reason)
    show(done, output)
    _say_who(lab, done[0])


@cli.command()
@click.argument("name", default="")
@click.option("--reason", required=True, help="Why; stays on the pull request and on the Promotion.")
@as_user
@output
def reject(name: str, reason: str, person: str, output: str) -> None:
    """Reject the Promotion that waits for PROD (or the one of that NAME), as release-manager."""
    lab = load_lab()
    done = promotion.reject(lab, _waiting(lab, name), reason, as_user=person)
    show(promotion.PromotionTable((done,)), output)


def _waiting(lab: Lab, name: str) -> promotion.Promotion:
    return promotion.get_promotion(lab, name) if name else promotion.waiting_promotion(lab, "prod")


@cli.command()
@click.argument("word", type=click.Choice(["stage"]))
@click.argument("stage")
@click.option("--to-revision", "revision", default="previous", show_default=True, help="previous, N, or Freight.")
@click.option("--approve", is_flag=True, help="Approve and merge the pull request as release-manager.")
@click.option("--reason", default="", help="Why, for the record.")
@as_user
@output
def rollback(word: str, stage: str, revision: str, approve: bool, reason: str, person: str, output: str) -> None:
    """Roll back: `rollback stage pre --to-revision previous`."""
    lab = load_lab()
    done = promotion.rollback(lab, stage, revision, as_user=person, approved=approve, reason=reason)
    show(done, output)
    _say_who(lab, done[0])


@cli.command()
@click.argument("stage")
@as_user
@output
def hold(stage: str, person: str, output: str) -> None:
    """Keep a Stage from taking new Freight by itself."""
    show(promotion.StageTable((promotion.hold(load_lab(), stage, as_user=person),)), output)


@cli.command()
@click.argument("stage")
@as_user
@output
def unhold(stage: str, person: str, output: str) -> None:
    """Let a Stage take new Freight by itself again."""
    show(promotion.StageTable((promotion.unhold(load_lab(), stage, as_user=person),)), output)


@cli.command()
@click.argument("stage")
@click.option("--until", required=True, help="90m, 18:00, or 2026-12-24T18:00.")
@click.option("--reason", default="", help="Whoever is refused will read it.")
@as_user
@output
def freeze(stage: str, until: str, reason: str, person: str, output: str) -> None:
    """Refuse Promotions to a Stage until a given time."""
    frozen = promotion.freeze(load_lab(), stage, until, reason=reason, as_user=person)
    show(promotion.FreezeTable((frozen,)), output)


@cli.command()
@click.argument("stage")
@as_user
@output
def unfreeze(stage: str, person: str, output: str) -> None:
    """End the freeze of a Stage."""
    show(promotion.FreezeTable((promotion.unfreeze(load_lab(), stage, as_user=person),)), output)


@cli.command()
@click.option("--from", "source", required=True, help="Stage whose Freight would be promoted.")
@click.option("--to", "target", required=True, help="Stage that would take it.")
@click.option("--freight", default="", help="Alias or name of the Freight, where it is not what runs in --from.")
@output
def diff(source: str, target: str, freight: str, output: str) -> None:
    """What a promotion would change in the live cluster."""
    show(promotion.promotion_diff(load_lab(), source, target, freight=freight), output)


@cli.group()
def get() -> None:
    """Show Kargo's resources."""


@get.command("stages")
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every Project.")
@output
def get_stages(all_namespaces: bool, output: str) -> None:
    """Stages: Freight, versions, health, verification."""
    show(promotion.stage_table(load_lab(), all_namespaces=all_namespaces), output)


@get.command("freight")
@output
def get_freight(output: str) -> None:
    """Freight: versions, and where it is verified."""
    show(promotion.freight_table(load_lab()), output)


@get.command("freezes")
@output
def get_freezes(output: str) -> None:
    """Which Stages are frozen, until when and why."""
    show(promotion.freeze_table(load_lab()), output)


@get.command("promotions")
@click.option("--stage", help="Of one Stage.")
@output
def get_promotions(stage: str | None, output: str) -> None:
    """Promotions, newest first."""
    lab = load_lab()
    if stage:
        promotion.find_stage(lab, stage)
    show(promotion.promotion_table(lab, stage), output)

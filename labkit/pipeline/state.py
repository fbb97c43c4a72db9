"""The pipeline at one moment: of each Stage what it runs, what is under way, what waits and for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from labkit.config import PROJECT, Lab
from labkit.promotion import (
    Freeze,
    Freight,
    FreightTable,
    GateTable,
    Promotion,
    Stage,
    StageTable,
    Validation,
    automatic_stages,
    freeze_table,
    freight_table,
    gate_table,
    good_before,
    promotion_table,
    stage_table,
    validation_of,
)
from labkit.rules import rules
from labkit.theme import NEUTRAL


@dataclass(frozen=True)
class StageView:
    """One Stage with all that a reader of the board wants to know of it.

    Attributes:
        stage: The Stage.
        colour: Its colour in the lab.
        main: Whether it is an environment's own Stage; the others stand apart.
        feeds: The Stages that take Freight from it.
        since: When its Freight came; nothing where that is not remembered.
        under_way: Its Promotion that has not ended, if any.
        gates: Of a Promotion that waits for its pull request, the gates.
        freeze: Whether it is frozen; nothing where it cannot be.
        automatic: Whether it takes new Freight by itself, unless it is held.
        signs_off: Whether somebody's sign-off of what it runs is a gate further on.
        validation: The sign-off of what it runs, if any.
        rollbacks: The Freight that it can go back to, newest first.
    """

    stage: Stage
    colour: str
    main: bool
    feeds: tuple[str, ...]
    since: datetime | None
    under_way: Promotion | None
    gates: GateTable
    freeze: Freeze | None
    automatic: bool
    signs_off: bool
    validation: Validation | None
    rollbacks: tuple[Freight, ...]

    @property
    def name(self) -> str:
        """Its Stage's name."""
        return self.stage.stage

    @property
    def title(self) -> str:
        """Its name as a heading."""
        return self.name.upper()

    @property
    def waiting(self) -> Promotion | None:
        """Its Promotion that waits for a pull request to be merged, if any."""
        return self.under_way if self.under_way and self.under_way.pull_request else None

    @property
    def frozen(self) -> bool:
        """Whether it refuses Promotions now."""
        return self.freeze is not None and self.freeze.frozen

    @property
    def held(self) -> bool:
        """Whether it would take new Freight by itself, but is kept from it."""
        return self.automatic and (self.stage.held or not self.stage.auto_promotion)


@dataclass(frozen=True)
class Pipeline:
    """All Stages at one moment.

    Attributes:
        views: In the order in which Freight passes them; those that stand apart at the end.
        at: The moment.
    """

    views: tuple[StageView, ...]
    at: datetime

    def view(self, stage: str) -> StageView:
        """One of the Stages."""
        return next(view for view in self.views if view.name == stage)


def pipeline_of(
    lab: Lab,
    stages: Iterable[Stage],
    freight: FreightTable,
    promotions: Iterable[Promotion],
    *,
    freezes: Iterable[Freeze] = (),
    gates: Mapping[str, GateTable] | None = None,
    automatic: Iterable[str] = (),
    validations: Mapping[str, Validation] | None = None,
    at: datetime,
) -> Pipeline:
    """Put together what was read.

    Args:
        lab: The lab, for what its Stages are called and coloured.
        stages: The Stages.
        freight: The Freight of the lab's Project.
        promotions: The Promotions of all Stages, newest first.
        freezes: The freezes.
        gates: Of Promotions that wait, by their name.
        automatic: The Stages that take new Freight by themselves, unless they are held.
        validations: Of what a Stage runs, by the Stage.
        at: When it was read.
    """
    every, told, frozen, by_itself = list(stages), list(promotions), {row.stage: row for row in freezes}, set(automatic)
    places = {item.stage: item for item in lab.destinations}
    order = {environment.name: environment.index for environment in lab.environments}

    def view(stage: Stage) -> StageView:
        mine = [row for row in told if row.stage == stage.stage]
        under_way = next((row for row in mine if not row.done), None)
        arrived = next(
            (row for row in mine if row.freight_name == stage.freight_name and row.phase == "Succeeded"), None
        )
        # A Stage that somebody made by hand has no place in the lab's plan.
        place = places.get(stage.stage)
        return StageView(
            stage=stage,
            colour=place.colour if place else NEUTRAL,
            main=place is not None and place.main,
            feeds=tuple(other.stage for other in every if stage.stage in other.takes_from),
            since=arrived.finished if arrived else None,
            under_way=under_way,
            gates=(gates or {}).get(under_way.promotion, GateTable(())) if under_way else GateTable(()),
            freeze=frozen.get(stage.stage),
            automatic=stage.stage in by_itself,
            signs_off=stage.stage in rules().validation_stages,
            validation=(validations or {}).get(stage.stage),
            rollbacks=tuple(good_before(stage, freight, mine)) if stage.project == PROJECT else (),
        )

    views = sorted(map(view, every), key=lambda item: (not item.main, order.get(item.name, len(order)), item.name))
    return Pipeline(tuple(views), at)


def read_pipeline(lab: Lab) -> Pipeline:
    """The pipeline as it is now; without a Stage where Kargo is not set up yet.

    Raises:
        LabError: Kargo's API server or Gitea does not answer.
    """
    stages = stage_table(lab, all_namespaces=True)
    if not stages:
        return Pipeline((), datetime.now(UTC))
    promotions = [
        *promotion_table(lab),
        *(row for stage in stages if stage.project != PROJECT for row in promotion_table(lab, stage.stage)),
    ]
    return pipeline_of(
        lab,
        stages,
        freight_table(lab),
        promotions,
        freezes=freeze_table(lab),
        gates={row.promotion: gate_table(lab, row) for row in promotions if not row.done and row.pull_request},
        automatic=automatic_stages(lab),
        validations=_validations(lab, stages),
        at=datetime.now(UTC),
    )


def _validations(lab: Lab, stages: StageTable) -> dict[str, Validation]:
    asked = {
        stage.stage: validation_of(lab, stage.stage, stage.freight_name)
        for stage in stages
        if stage.stage in rules().validation_stages and stage.freight_name
    }
    return {stage: said for stage, said in asked.items() if said}

"""Grafana's dashboards, built from the plans with Grafana's own Foundation SDK.

They are JSON files made for Grafana 11.6 and later, to be provisioned or imported. Their data source is a Prometheus
with the uid `prometheus`.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    ValueMap,
    ValueMappingResult,
    VariableOption,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from labkit.config import Lab
from labkit.observability.panels import DashboardPlan, Kind, Matrix, Panel, dashboard_plans
from labkit.paths import DATA

FOLDER = DATA / "observability" / "dashboards"

_PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
_TAG = "labkit"
_COLUMNS = 24  # of Grafana's grid
_HEIGHTS: Mapping[Kind, int] = {"stat": 5, "bargauge": 8, "timeseries": 8, "state-timeline": 8, "table": 8}
_BOUND = r" (requests|limits)$"  # what a series ends with that is no use of a resource, but bounds it

_Builder = TypeVar("_Builder", stat.Panel, bargauge.Panel, timeseries.Panel, statetimeline.Panel, table.Panel)
_AnyBuilder = stat.Panel | bargauge.Panel | timeseries.Panel | statetimeline.Panel | table.Panel


def build_dashboards(lab: Lab) -> dict[str, dict[str, Any]]:
    """All dashboards, as Grafana reads them.

    Args:
        lab: The lab; its environments are asked for their names and colours.

    Returns:
        The dashboards by their uid.
    """
    return {
        plan.uid: json.loads(json.dumps(_dashboard(lab, plan).build(), cls=JSONEncoder)) for plan in dashboard_plans()
    }


def write_dashboards(lab: Lab, folder: Path) -> list[Path]:
    """Write all dashboards, a file `UID.json` for each.

    Args:
        lab: The lab.
        folder: Where to; made if it is missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for uid, built in build_dashboards(lab).items():
        file = folder / f"{uid}.json"
        file.write_text(json.dumps(built, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        files.append(file)
    return files


def _dashboard(lab: Lab, plan: DashboardPlan) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(plan.title)
        .uid(plan.uid)
        .description(plan.about)
        .tags([_TAG])
        .time("now-30m", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    if plan.asks_for_environment:
        made.with_variable(_environment_variable(lab))
    number = 0
    for row in plan.rows:
        made.with_row(dashboard.Row(row.title).id(number := number + 1))
        # As high as the highest of them, so that no gap is left.
        height = max(_HEIGHTS[panel.kind] for panel in row.panels)
        for panel in row.panels:
            built = _KINDS[panel.kind](lab, panel)
            made.with_panel(built.id(number := number + 1).span(_COLUMNS // len(row.panels)).height(height))
    return made


def _environment_variable(lab: Lab) -> dashboard.CustomVariable:
    names = [environment.name for environment in lab.environments]
    # The last is the one with users.
    options = [VariableOption(selected=name == names[-1], text=name, value=name) for name in names]
    return (
        dashboard.CustomVariable("environment")
        .label("Environment")
        .description("The environment that is looked at.")
        .values(",".join(names))
        .options(options)
        .current(options[-1])
    )


def _stat(lab: Lab, panel: Panel) -> stat.Panel:
    built = (
        stat.Panel()
        .reduce_options(_newest())
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
    )
    return _common(built, lab, panel)


def _bargauge(lab: Lab, panel: Panel) -> bargauge.Panel:
    built = bargauge.Panel().reduce_options(_newest()).orientation(VizOrientation.HORIZONTAL)
    return _common(built, lab, panel)


def _timeseries(lab: Lab, panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .axis_label(panel.axis)
        .line_width(2)
        .show_points(VisibilityMode.NEVER)
    )
    _common(built, lab, panel)
    if any(re.search(_BOUND, legend) for legend in panel.legends):
        dashes = DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
        built.override_by_regexp(f"/{_BOUND}/", [dashes])
    return built


def _statetimeline(lab: Lab, panel: Panel) -> statetimeline.Panel:
    built = statetimeline.Panel().legend(_legend()).merge_values(True).show_value(VisibilityMode.AUTO)
    return _common(built, lab, panel)


def _table(lab: Lab, panel: Panel) -> table.Panel:
    built = _common(table.Panel(), lab, panel)
    assert panel.matrix is not None
    for transformation in _transformations(panel.matrix):
        built.with_transformation(transformation)
    return built


_KINDS: Mapping[Kind, Callable[[Lab, Panel], _AnyBuilder]] = {
    "stat": _stat,
    "bargauge": _bargauge,
    "timeseries": _timeseries,
    "state-timeline": _statetimeline,
    "table": _table,
}


def _common(built: _Builder, lab: Lab, panel: Panel) -> _Builder:
    built.title(panel.title).description(panel.description).datasource(_PROMETHEUS)
    # Not by thresholds, as is the default: a panel would turn red at 80, whatever it counts.
    built.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if panel.unit:
        built.unit(panel.unit).min(0)
    if panel.states:
        built.mappings([_mapping(panel)])
    if panel.by_environment:
        for environment in lab.environments:
            colour = DynamicConfigValue("color", {"mode": "fixed", "fixedColor": environment.colour})
            built.override_by_regexp(rf"/^{environment.name}\b/", [colour])
    series = zip(panel.queries, panel.legends, strict=True)
    for name, (query, legend) in zip(string.ascii_uppercase, series, strict=False):
        built.with_target(_target(panel.kind, name, query, legend))
    return built


def _target(kind: Kind, name: str, query: str, legend: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(name).datasource(_PROMETHEUS).expr(query).legend_format(legend)
    if kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    if kind in ("stat", "bargauge"):
        return target.instant().format(PromQueryFormat.TIME_SERIES)
    return target.range().format(PromQueryFormat.TIME_SERIES)


def _mapping(panel: Panel) -> ValueMap:
    return ValueMap(
        {
            str(state.value): ValueMappingResult(text=state.text, color=state.colour, index=index)
            for index, state in enumerate(panel.states)
        }
    )


def _transformations(matrix: Matrix) -> tuple[DataTransformerConfig, ...]:
    """From a row for each series to rows and columns.

    Source: https://grafana.com/docs/grafana/latest/panels-visualizations/query-transform-data/transform-data/.
    """
    columns = {
        "rowField": matrix.row,
        "columnField": matrix.column,
        "valueField": matrix.value,
        "emptyValue": "null",
    }
    return (
        DataTransformerConfig("groupingToMatrix", options=columns),
        DataTransformerConfig("organize", options={"renameByName": {f"{matrix.row}\\{matrix.column}": matrix.row}}),
    )


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )

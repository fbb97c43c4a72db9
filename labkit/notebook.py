"""What the notebooks use: one flat set of names, so that a cell reads as what it does."""

import pandas as pd

from labkit.charts import pipeline_chart
from labkit.checks import check, check_table
from labkit.config import choose, load_lab
from labkit.delivery.defects import defect_table
from labkit.delivery.schema_steps import schema_step_table
from labkit.demo_app import app_page, find_orders, place_order, schema_table, try_markup, try_order
from labkit.deploy import (
    build_feature,
    build_hotfix,
    build_release,
    ensure_bug,
    ensure_defect,
    ensure_releases_apart,
    fix_defect,
    introduce_defect,
    merge_hotfix,
    preview_branch,
    promote_freight,
    release_branch,
    take_schema_step,
)
from labkit.down import down
from labkit.drift import drift_chart, drift_frame
from labkit.install import create_clusters, install_argocd, install_kargo
from labkit.kubectl import kubectl
from labkit.observability.alerts import alert_table
from labkit.observability.logs import app_logs
from labkit.observability.pages import acknowledge, notice_table, wait_for_notice
from labkit.observability.people import wait_until_served
from labkit.observability.timeline import timeline_chart, timeline_frame
from labkit.observability.versions import version_chart
from labkit.observability.views import delivery_frame, latency_chart, panel_chart, panel_queries, promotion_chart
from labkit.pipeline import pipeline_board
from labkit.preflight import preflight
from labkit.promotion import (
    approve,
    create_freight,
    ensure_promotion,
    evidence,
    find_stage,
    freeze,
    freight_to_promote,
    gate_log,
    gate_results,
    gate_table,
    hold,
    promotion_diff,
    promotion_table,
    pull_request,
    reject,
    request_promotion,
    rollback,
    rollback_candidates,
    source_diff,
    stage_table,
    try_approval,
    try_promotion,
    try_rollback,
    unfreeze,
    unhold,
    validate,
    wait_for_pull_request,
    wait_for_rollback,
    wait_for_stage,
    wait_for_verification,
)
from labkit.scenarios.feature import begin_feature, feature_facts
from labkit.scenarios.hotfix import begin_hotfix, hotfix_facts
from labkit.scenarios.rollback import begin_rollback, rollback_facts
from labkit.scenarios.story import production_freight
from labkit.services.argocd import sync_application
from labkit.toolchain import find_tools
from labkit.urls import lab_urls

# What a log line says is read to its end.
pd.set_option("display.max_colwidth", 160)

__all__ = [
    "acknowledge",
    "alert_table",
    "app_logs",
    "app_page",
    "approve",
    "begin_feature",
    "begin_hotfix",
    "begin_rollback",
    "build_feature",
    "build_hotfix",
    "build_release",
    "check",
    "check_table",
    "choose",
    "create_clusters",
    "create_freight",
    "defect_table",
    "delivery_frame",
    "down",
    "drift_chart",
    "drift_frame",
    "ensure_bug",
    "ensure_defect",
    "ensure_promotion",
    "ensure_releases_apart",
    "evidence",
    "feature_facts",
    "find_orders",
    "find_stage",
    "find_tools",
    "fix_defect",
    "freeze",
    "freight_to_promote",
    "gate_log",
    "gate_results",
    "gate_table",
    "hold",
    "hotfix_facts",
    "install_argocd",
    "install_kargo",
    "introduce_defect",
    "kubectl",
    "lab_urls",
    "latency_chart",
    "load_lab",
    "merge_hotfix",
    "notice_table",
    "panel_chart",
    "panel_queries",
    "pipeline_board",
    "pipeline_chart",
    "place_order",
    "preflight",
    "preview_branch",
    "production_freight",
    "promote_freight",
    "promotion_chart",
    "promotion_diff",
    "promotion_table",
    "pull_request",
    "reject",
    "release_branch",
    "request_promotion",
    "rollback",
    "rollback_candidates",
    "rollback_facts",
    "schema_step_table",
    "schema_table",
    "source_diff",
    "stage_table",
    "sync_application",
    "take_schema_step",
    "timeline_chart",
    "timeline_frame",
    "try_approval",
    "try_markup",
    "try_order",
    "try_promotion",
    "try_rollback",
    "unfreeze",
    "unhold",
    "validate",
    "version_chart",
    "wait_for_notice",
    "wait_for_pull_request",
    "wait_for_rollback",
    "wait_for_stage",
    "wait_for_verification",
    "wait_until_served",
]

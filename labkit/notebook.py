"""What the notebooks use: one flat set of names, so that a cell reads as what it does."""

from labkit.charts import pipeline_chart
from labkit.checks import check
from labkit.config import choose, load_lab
from labkit.delivery.defects import defect_table
from labkit.deploy import build_release, ensure_defect, fix_defect, introduce_defect, promote_freight
from labkit.down import down
from labkit.install import create_clusters, install_argocd, install_kargo
from labkit.kubectl import kubectl
from labkit.observability.alerts import alert_table
from labkit.observability.logs import app_logs
from labkit.observability.pages import acknowledge, notice_table, wait_for_notice
from labkit.observability.people import place_order, wait_until_served
from labkit.observability.timeline import timeline_chart, timeline_frame
from labkit.observability.views import delivery_frame, latency_chart, panel_chart, panel_queries, promotion_chart
from labkit.preflight import preflight
from labkit.promotion import (
    approve,
    ensure_promotion,
    evidence,
    find_stage,
    freeze,
    freight_to_promote,
    gate_results,
    gate_table,
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
    unfreeze,
    validate,
    wait_for_pull_request,
    wait_for_rollback,
    wait_for_stage,
    wait_for_verification,
)
from labkit.scenarios.rollback import begin_rollback, rollback_facts
from labkit.services.argocd import sync_application
from labkit.toolchain import find_tools
from labkit.urls import lab_urls

__all__ = [
    "acknowledge",
    "alert_table",
    "app_logs",
    "approve",
    "begin_rollback",
    "build_release",
    "check",
    "choose",
    "create_clusters",
    "defect_table",
    "delivery_frame",
    "down",
    "ensure_defect",
    "ensure_promotion",
    "evidence",
    "find_stage",
    "find_tools",
    "fix_defect",
    "freeze",
    "freight_to_promote",
    "gate_results",
    "gate_table",
    "install_argocd",
    "install_kargo",
    "introduce_defect",
    "kubectl",
    "lab_urls",
    "latency_chart",
    "load_lab",
    "notice_table",
    "panel_chart",
    "panel_queries",
    "pipeline_chart",
    "place_order",
    "preflight",
    "promote_freight",
    "promotion_chart",
    "promotion_diff",
    "promotion_table",
    "pull_request",
    "reject",
    "request_promotion",
    "rollback",
    "rollback_candidates",
    "rollback_facts",
    "source_diff",
    "stage_table",
    "sync_application",
    "timeline_chart",
    "timeline_frame",
    "try_approval",
    "try_promotion",
    "unfreeze",
    "validate",
    "wait_for_notice",
    "wait_for_pull_request",
    "wait_for_rollback",
    "wait_for_stage",
    "wait_for_verification",
    "wait_until_served",
]

"""What the notebooks use: one flat set of names, so that a cell reads as what it does."""

from labkit.charts import pipeline_chart
from labkit.checks import check
from labkit.config import choose, load_lab
from labkit.delivery.defects import defect_table
from labkit.delivery.schema_steps import schema_step_table
from labkit.demo_app import find_orders, place_order, schema_table
from labkit.deploy import build_release, fix_defect, introduce_defect, promote_freight, take_schema_step
from labkit.down import down
from labkit.install import create_clusters, install_argocd, install_kargo
from labkit.kubectl import kubectl
from labkit.observability.logs import app_logs
from labkit.observability.views import delivery_frame, latency_chart, panel_chart, promotion_chart
from labkit.preflight import preflight
from labkit.promotion import (
    approve,
    ensure_promotion,
    evidence,
    find_stage,
    freeze,
    freight_to_promote,
    gate_log,
    gate_results,
    gate_table,
    promotion_diff,
    promotion_table,
    pull_request,
    reject,
    request_promotion,
    rollback,
    rollback_candidates,
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
from labkit.toolchain import find_tools
from labkit.urls import lab_urls

__all__ = [
    "app_logs",
    "approve",
    "build_release",
    "check",
    "choose",
    "create_clusters",
    "defect_table",
    "delivery_frame",
    "down",
    "ensure_promotion",
    "evidence",
    "find_orders",
    "find_stage",
    "find_tools",
    "fix_defect",
    "freeze",
    "freight_to_promote",
    "gate_log",
    "gate_results",
    "gate_table",
    "install_argocd",
    "install_kargo",
    "introduce_defect",
    "kubectl",
    "lab_urls",
    "latency_chart",
    "load_lab",
    "panel_chart",
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
    "schema_step_table",
    "schema_table",
    "stage_table",
    "take_schema_step",
    "try_approval",
    "try_promotion",
    "try_rollback",
    "unfreeze",
    "unhold",
    "validate",
    "wait_for_pull_request",
    "wait_for_rollback",
    "wait_for_stage",
    "wait_for_verification",
]

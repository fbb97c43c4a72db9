"""Checks of a schema change in four steps."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx

from labkit.checks.check import expect, register
from labkit.clusters import kube, provider
from labkit.config import NAMESPACE, PROJECT, Environment, Lab
from labkit.delivery.schema_steps import schema_columns
from labkit.demo_app import Schema, schema_table
from labkit.kubectl import kubectl


def _ask_file(lab: Lab, environment: Environment, question: str) -> list[tuple[Any, ...]]:
    """What an environment's database file says, read beside the program that keeps it."""
    claim = kube(lab, environment).need("v1", "PersistentVolumeClaim", "database", NAMESPACE)
    file = provider(lab).volumes(environment) / claim["spec"]["volumeName"] / "orders.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(question).fetchall()


def _columns(lab: Lab, schema: Schema) -> set[str]:
    environment = lab.environment(schema.environment)
    return {f"orders.{row[1]}" for row in _ask_file(lab, environment, "PRAGMA table_info(orders)")}


@register("schemas", "`labkit schema show` says what each database needs; roll forward where one lacks a column")
def _schemas(lab: Lab) -> str:
    """By the files of the databases, where the gate asked their programs."""
    rows = schema_table(lab)
    for row in rows:
        lacking = sorted(set(row.needs) - _columns(lab, row))
        what = f"columns that database {row.database} needs and the file in {row.environment} lacks"
        expect(lacking, [], what, else_wrong=True)
    found = ", ".join(f"{row.environment} runs database {row.database}" for row in rows)
    return f"every file has what its program needs: {found}"


@register("contract-refused", "push the contract while PROD still runs the old version, and wait for DEV")
def _contract_refused(lab: Lab) -> str:
    """By DEV's newest measured AnalysisRun, and by the files of PRE and PROD."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    shown = kubectl(
        lab,
        f"{where} get analysisruns -l kargo.akuity.io/stage=dev --sort-by=.metadata.creationTimestamp -o json",
    )
    status = json.loads(shown.output)["items"][-1].get("status") or {}
    phases = {item["name"]: item["phase"] for item in status.get("metricResults") or []}
    expect(phases.get("schema-contract"), "Failed", "schema-contract in DEV's newest AnalysisRun")
    for row in schema_table(lab)[1:]:
        lacking = sorted(set(row.needs) - _columns(lab, row))
        what = f"columns that database {row.database} needs and the file in {row.environment} lacks"
        expect(lacking, [], what, else_wrong=True)
    return "DEV's gate is red, and the files of PRE and PROD have every column that what runs there needs"


@register("orders-kept", "an order has been lost or changed: `labkit app-logs dev --level error`")
def _orders_kept(lab: Lab) -> str:
    """By DEV's database file: orders are numbered without gaps, and its page shows what the file holds."""
    columns = _ask_file(lab, lab.control, "PRAGMA table_info(orders)")
    named = [row[1] for row in columns if row[1] in schema_columns()]
    with httpx.Client(trust_env=False) as client:
        shown = client.get(f"{lab.app_url(lab.control.name)}/api/orders").raise_for_status().json()["orders"]
    rows = _ask_file(lab, lab.control, f"SELECT id, {', '.join(named)} FROM orders ORDER BY id")
    # A column that is not filled yet is empty; those that are filled agree.
    kept = {number: {value for value in values if value} for number, *values in rows}
    expect(list(kept), list(range(1, len(kept) + 1)), "numbers of the orders in DEV", else_wrong=True)
    lost = [number for number, values in kept.items() if len(values) != 1]
    expect(lost, [], "orders without one customer in DEV", else_wrong=True)
    wrong = [order["id"] for order in shown if {order["customer"]} != kept[order["id"]]]
    expect(wrong, [], "orders on DEV's page with another customer than in its file", else_wrong=True)
    return f"all {len(rows)} orders of DEV are there, each with its customer"

"""Every panel of every dashboard, asked of the lab's own Prometheus."""

import pytest

from labkit.observability.panels import dashboard_plans
from labkit.observability.series import instant
from labkit.wait import wait_for


@pytest.mark.parametrize("plan", dashboard_plans(), ids=lambda plan: plan.uid)
def test_every_query_has_an_answer(lab, plan):
    environments = [item.name for item in lab.environments] if plan.asks_for_environment else ["prod"]
    queries = {
        f"{panel.title} ({environment})": query
        for panel in plan.panels
        for environment in environments
        for query in panel.filled(environment)
    }

    def unanswered():
        answers = {name: instant(lab, query)["value"] for name, query in queries.items()}
        return [name for name, values in answers.items() if values.dropna().empty]

    # What counts in a window of a minute has to have been there for a minute.
    wait_for(f"answers of {plan.uid}", unanswered, lambda missing: not missing, describe=", ".join, timeout=90)

"""Check your work: each check reads the state by another route than the call that changed it."""

from labkit.checks import delivery, exercises, incident, lab, observability, promotion, schema, stories
from labkit.checks.check import Checked, CheckTable, NotYet, Wrong, check, check_names, check_table, solution
from labkit.checks.delivery import seed_versions

# Importing these modules is what gives `check` its names.
__all__ = [
    "CheckTable",
    "Checked",
    "NotYet",
    "Wrong",
    "check",
    "check_names",
    "check_table",
    "delivery",
    "exercises",
    "incident",
    "lab",
    "observability",
    "promotion",
    "schema",
    "seed_versions",
    "solution",
    "stories",
]

"""Every Promotion that has ended leaves a record."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from labkit.config import Lab
from labkit.promotion.evidence import evidence, write_evidence
from labkit.promotion.promotion import promotion_table

log = logging.getLogger("labkit.guard")


def keep_records(lab: Lab) -> None:
    """Write the record of each Promotion that has ended, once its verification has ended too."""
    patience = timedelta(seconds=lab.limits.promotion_seconds)
    for promotion in promotion_table(lab):
        if not promotion.done or (lab.home.evidence / f"{promotion.promotion}.json").exists():
            continue
        record = evidence(lab, promotion.promotion)
        # A Stage that has moved on does not verify what it left behind.
        if record.complete or datetime.now(UTC) - promotion.finished > patience:
            log.info("record of %s: %s", promotion.promotion, write_evidence(lab, record))

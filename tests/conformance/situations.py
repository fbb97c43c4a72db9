"""The recorded situations, in order: what was done to get there, and where to look afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance.bench import Answer, Bench, Obj

RECORDINGS = Path(__file__).parent / "recordings"
SOAK = 10.0  # seconds that prod's Freight has to have been in pre
OLD, NEW, HOTFIX = "2.0.5", "2.0.8", "2.0.6"  # of the backend


@dataclass(frozen=True)
class Observation:
    """What a situation left behind: objects in the order of the recording, and Kargo's answers."""

    objects: list[Obj] = field(default_factory=list)
    answers: Obj = field(default_factory=dict)


# What is there now; several where the recording shows a moment, of which each may be the recorded one.
Look = Callable[[], Iterable[Observation]]


def look_at(objects: Callable[[], list[Obj]], **answers: Any) -> Look:
    """Look at these objects as they are now."""
    return lambda: [Observation(objects(), answers)]


class Story:
    """Replays the situations on a bench. Each method does what was done, and returns where to look.

    Args:
        bench: The lab.
        scratch: A folder for what is written down on the way.
    """

    def __init__(self, bench: Bench, scratch: Path) -> None:
        self._bench = bench
        self._scratch = scratch
        self._last = ""
        self._old = self._new = self._hotfix = ""
        self._while_soaking = Answer(None, "")

    def _promotion(self) -> Obj:
        return self._bench.get("Promotion", self._last)

    def s01_auto_promotion_to_dev(self) -> Look:
        bench = self._bench
        bench.push_release("0.9.0", OLD, "1.4.7")
        bench.apply("project")
        bench.wait_for_project()
        bench.apply("credentials", "analysis-templates", "warehouse", "stages")
        self._old = bench.wait_for_freight(OLD)
        bench.wait_until_verified("dev", self._old)
        return look_at(
            lambda: [
                bench.get("Warehouse", "demo-app"),
                bench.get("Freight", self._old),
                bench.get("Stage", "dev"),
                bench.promotions("dev")[-1],
                bench.analysis_run("dev"),
            ]
        )

    def s02_promotion_to_pre(self) -> Look:
        bench = self._bench
        self._last = bench.promote("pre", self._old)
        phase = bench.wait_for_phase(self._last, "Succeeded")
        bench.wait_until_verified("pre", self._old)
        self._while_soaking = bench.ask_promotion("prod", self._old)
        return look_at(
            lambda: [
                bench.get("Freight", self._old),
                bench.get("Stage", "pre"),
                self._promotion(),
                bench.analysis_run("pre"),
            ],
            **{"promotion phase": phase},
        )

    def s03_prod_waits_for_pull_request(self) -> Look:
        bench = self._bench
        bench.wait_for_soak(self._old, "pre", SOAK)
        self._last = bench.promote("prod", self._old)
        bench.wait_for_step(self._last, "wait-pr", "Running")
        pulls = [
            {"number": pull["number"], "state": pull["state"], "title": pull["title"]}
            | {side: pull[side]["ref"] for side in ("base", "head")}
            for pull in bench.pull_requests()
        ]
        return look_at(
            lambda: [self._promotion(), bench.get("Stage", "prod"), bench.get("Freight", self._old)],
            **{"refused while soaking (requiredSoakTime 10s)": self._while_soaking.said, "pull requests": pulls},
        )

    def s04_prod_pull_request_merged(self) -> Look:
        self._merge(self._old)
        bench = self._bench
        return look_at(
            lambda: [
                self._promotion(),
                bench.get("Stage", "prod"),
                bench.get("Freight", self._old),
                bench.analysis_run("prod"),
            ]
        )

    def s05_verification_failed_in_dev(self) -> Look:
        bench = self._bench
        bench.gate.closed_for.add("dev")
        bench.push_release("0.9.5", NEW, "1.4.9")
        bench.refresh("Warehouse", "demo-app")
        self._new = bench.wait_for_freight(NEW)
        bench.wait_for_run("dev", self._new)
        bench.refresh("Stage", "dev")
        return look_at(
            lambda: [
                bench.get("Warehouse", "demo-app"),
                bench.get("Freight", self._new),
                bench.get("Stage", "dev"),
                bench.promotions("dev")[-1],
                bench.analysis_run("dev"),
            ]
        )

    def s06_unverified_freight_refused(self) -> Look:
        bench = self._bench
        answer = bench.ask_promotion("pre", self._new)
        return look_at(
            lambda: [bench.get("Freight", self._new), bench.get("Stage", "pre")],
            accepted=answer.accepted,
            answer=answer.said,
        )

    def s07_reverified(self) -> Look:
        bench = self._bench
        bench.gate.closed_for.clear()
        failed = bench.verification("dev")
        bench.annotate("Stage", "dev", "kargo.akuity.io/reverify", failed["id"])
        bench.wait_for_other_run("dev", failed["analysisRun"]["name"])
        bench.refresh("Stage", "dev")
        return look_at(lambda: [bench.get("Freight", self._new), bench.get("Stage", "dev"), bench.analysis_run("dev")])

    def s08_prod_pull_request_rejected(self) -> Look:
        bench = self._bench
        bench.wait_until_verified("dev", self._new)
        bench.wait_for_phase(bench.promote("pre", self._new), "Succeeded")
        bench.wait_until_verified("pre", self._new)
        bench.wait_for_soak(self._new, "pre", SOAK)
        self._last = bench.promote("prod", self._new)
        bench.wait_for_step(self._last, "wait-pr", "Running")
        bench.close_newest()
        bench.refresh("Promotion", self._last)
        bench.wait_for_phase(self._last, "Failed")
        return look_at(lambda: [self._promotion(), bench.get("Stage", "prod"), bench.get("Freight", self._new)])

    def s09_promotion_aborted(self) -> Look:
        bench = self._bench
        self._last = bench.promote("prod", self._new)
        bench.wait_for_step(self._last, "wait-pr", "Running")
        bench.annotate("Promotion", self._last, "kargo.akuity.io/abort", "terminate")
        bench.wait_for_phase(self._last, "Aborted")
        return look_at(lambda: [self._promotion(), bench.get("Stage", "prod")])

    def s10_two_promotions_queue(self) -> Look:
        """The recording shows moments: the second one when it begins, and pre right after it ended."""
        bench = self._bench
        with (
            bench.watching("promotions", self._scratch) as promotions,
            bench.watching("stages", self._scratch) as stages,
        ):
            first, second = bench.promote("pre", self._old), bench.promote("pre", self._new)
            bench.wait_for_phase(first, "Succeeded")
            bench.wait_for_phase(second, "Succeeded")
            bench.wait_until_verified("pre", self._new)
        ended = [bench.get("Promotion", name) for name in (first, second)]
        begun = [item for item in promotions.versions(second) if item.get("status", {}).get("phase") == "Running"]
        after = [
            stage for stage in stages.versions("pre") if stage["status"].get("lastPromotion", {}).get("name") == second
        ]
        return lambda: [Observation([ended[0], beginning, *ended, stage]) for beginning in begun for stage in after]

    def s11_older_freight_promoted_to_dev_by_hand(self) -> Look:
        bench = self._bench
        verified_by = bench.analysis_run("dev")["metadata"]["name"]
        self._last = bench.promote("dev", self._old)
        phase = bench.wait_for_phase(self._last, "Succeeded")
        bench.wait_for_other_run("dev", verified_by)
        bench.refresh("Stage", "dev")
        return look_at(
            lambda: [self._promotion(), bench.get("Stage", "dev"), *bench.promotions("dev")[1:]], phase=phase
        )

    def s12_hotfix_freight_approved_for_prod(self) -> Look:
        bench = self._bench
        bench.push("backend", HOTFIX)
        (manifest,) = bench.manifests("hotfix")
        made = bench.create(manifest)
        assert made.accepted, made.said
        self._hotfix = made.accepted
        refused = bench.ask_promotion("prod", self._hotfix)
        approval = {"prod": {"approvedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}
        bench.patch_status("freight", self._hotfix, {"approvedFor": approval})
        self._last = bench.promote("prod", self._hotfix)
        bench.wait_for_step(self._last, "wait-pr", "Running")
        self._merge(self._hotfix)
        return look_at(
            lambda: [
                bench.get("Freight", self._hotfix),
                self._promotion(),
                bench.get("Stage", "prod"),
                bench.get("Stage", "dev"),
                *bench.promotions("dev")[1:],
            ],
            **{"before approval": refused.said},
        )

    def s13_rollback_of_prod(self) -> Look:
        bench = self._bench
        self._last = bench.promote("prod", self._old)
        bench.wait_for_step(self._last, "wait-pr", "Running")
        self._merge(self._old)
        return look_at(
            lambda: [
                self._promotion(),
                bench.get("Stage", "prod"),
                bench.get("Freight", self._old),
                *bench.list("AnalysisRun", "kargo.akuity.io/stage=prod"),
            ]
        )

    def s14_step_fails(self) -> Look:
        def change(steps: list[Obj]) -> None:
            steps[2]["config"]["path"] = "./src/overlays/nowhere"

        phase = self._promote_to_changed_pre(change)
        return look_at(lambda: [self._promotion(), self._bench.get("Stage", "pre")], phase=phase)

    def s15_unknown_step(self) -> Look:
        def change(steps: list[Obj]) -> None:
            steps[1] = {"uses": "no-such-step", "as": "x"}

        phase = self._promote_to_changed_pre(change)
        return look_at(
            lambda: [self._promotion(), self._bench.get("Stage", "pre")],
            **{"promotion": phase, "stage accepted": True, "stage answer": ""},
        )

    def s16_conditional_step(self) -> Look:
        def change(steps: list[Obj]) -> None:
            steps[4]["if"] = "${{ ctx.stage == 'other' }}"

        phase = self._promote_to_changed_pre(change)
        return look_at(lambda: [self._promotion()], phase=phase)

    def s17_invalid_stage(self) -> Look:
        (manifest,) = self._bench.manifests("stage-without-source")
        answer = self._bench.create(manifest)
        return look_at(list, accepted=answer.accepted is not None, answer=answer.said)

    def s18_unknown_freight_or_stage(self) -> Look:
        freight = self._bench.ask_promotion("pre", "0" * 40)
        stage = self._bench.ask_promotion("nowhere", self._old)
        return look_at(list, **{"unknown freight": freight.said, "unknown stage": stage.said})

    def s19_events(self) -> Look:
        def look() -> list[Observation]:
            found = [
                {"on": event["involvedObject"]["kind"], "reason": event["reason"], "type": event["type"]}
                for event in self._bench.list("Event")
                # The app's own continuous test in DEV, which the pipeline of the recordings did not have.
                if event["involvedObject"]["kind"] not in ("CronJob", "Job")
            ]
            return [Observation(answers={"events": found})]

        return look

    def s20_kubectl_get(self) -> Look:
        def look() -> list[Observation]:
            shown = self._bench.kubectl("get", "warehouses,freights,stages,promotions", "-o", "wide")
            return [Observation(answers={"output": shown.splitlines()})]

        return look

    def _merge(self, freight: str) -> None:
        """Merge the pull request of the last Promotion, and have Kargo look: at it, and at its verification."""
        bench = self._bench
        bench.merge_newest()
        bench.refresh("Promotion", self._last)
        bench.wait_for_phase(self._last, "Succeeded")
        bench.wait_for_run("prod", freight)
        bench.refresh("Stage", "prod")

    def _promote_to_changed_pre(self, change: Callable[[list[Obj]], None]) -> str:
        bench = self._bench
        bench.change_steps("pre", change)
        self._last = bench.promote("pre", self._new)
        return bench.wait_for_phase(self._last, "Errored")


def told_by(teller: type) -> dict[str, str]:
    """The methods of a class that tell situations, by number."""
    return {name[1:3]: name for name in vars(teller) if name.startswith("s") and name[1:3].isdigit()}


def titles() -> dict[str, str]:
    """What the recordings are called, by number."""
    return {file.name[:2]: file.stem[3:] for file in sorted(RECORDINGS.glob("*.json"))}


def recording(number: str) -> Obj:
    """The recording of a situation."""
    found: Obj = json.loads((RECORDINGS / f"{number}-{titles()[number]}.json").read_text())
    return found


def comparable(number: str, situation: Obj) -> Obj:
    """What of a situation, recorded or found, is compared: all of it, but for three of them."""
    reduce = _REDUCED.get(number, lambda whole: whole)
    return reduce(situation)


def _skipped_step(situation: Obj) -> Obj:
    """The rest of 16 is the scenario's own doing: its push has nothing to push."""
    steps = situation["objects"][0]["status"]["stepExecutionMetadata"]
    return {"objects": [], "answers": {"step": next(step for step in steps if step["alias"] == "commit")}}


def _reasons(situation: Obj) -> Obj:
    """How often something is told depends on the run; what is told of which kind of object does not."""
    found: dict[str, set[str]] = {}
    for event in situation["answers"]["events"]:
        found.setdefault(event["on"], set()).add(f"{event['type']} {event['reason']}")
    return {"objects": [], "answers": {kind: sorted(reasons) for kind, reasons in found.items()}}


def _columns(situation: Obj) -> Obj:
    """The columns of each table, and what the Stage of 17 says about itself."""
    columns, bad = [], []
    for line in situation["answers"]["output"]:
        if line.startswith("NAME "):
            columns.append(line.split("  "))
        elif line.startswith("stage.kargo.akuity.io/bad "):
            bad = [cell.strip() for cell in line.split("  ") if cell.strip()][:-1]
    tables = [[cell.strip() for cell in table if cell.strip()] for table in columns]
    return {"objects": [], "answers": {"columns": tables, "stage bad": bad}}


_REDUCED = {"16": _skipped_step, "19": _reasons, "20": _columns}

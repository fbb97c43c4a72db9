"""Situations beyond the demo app's pipeline, in a Project of their own: what else a stand-in has to do as Kargo does.

The first line of a method's docstring is the `situation` of its recording, which `record.py` makes.
"""

from __future__ import annotations

from pathlib import Path

from conformance.bench import Bench, Obj
from conformance.situations import Look, look_at

ABORT = "kargo.akuity.io/abort"


class Contract:
    """Goes on where the story of the pipeline ended. Each method does what was done, and returns where to look.

    Args:
        bench: The lab, after the story.
        scratch: A folder for what is written down on the way.
    """

    def __init__(self, bench: Bench, scratch: Path) -> None:
        self._lab = bench
        self._bench = bench.in_project("contract")
        self._older = self._newer = ""

    def s21_steps_retried_and_timed_out(self) -> Look:
        """A step that errors is tried three times; one that waits for a pull request is given up after 3 s."""
        bench = self._bench
        bench.apply("contract")
        bench.wait_for_project()
        # The pull request of the Promotion that was aborted in 09 is still open.
        bench.apply("contract-stages", PULL_REQUEST=bench.pull_requests()[0]["number"])
        made = [bench.create(manifest) for manifest in bench.manifests("contract-freight")]
        self._older, self._newer = (str(answer.accepted) for answer in made)
        return self._promoted("Errored", "retrying", "timing-out")

    def s22_conditional_steps(self) -> Look:
        """Steps with `if`, `continueOnError` and variables of Stage and template; the last has no alias."""
        return self._promoted("Succeeded", "conditional")

    def s23_several_stages_upstream(self) -> Look:
        """Freight verified in one of two Stages upstream, then in both: one Stage takes either, one asks for all."""
        bench = self._bench
        self._promote_and_verify("north", self._older)
        refused = bench.ask_promotion("both", self._older)
        either = bench.promote("either", self._older)
        self._promote_and_verify("south", self._older)
        both = bench.promote("both", self._older)
        for promotion in (either, both):
            bench.wait_for_phase(promotion, "Succeeded")
        return look_at(
            lambda: [
                bench.get("Freight", self._older),
                *(bench.get("Stage", stage) for stage in ("north", "south", "either", "both")),
                *(bench.get("Promotion", promotion) for promotion in (either, both)),
            ],
            **{"both, verified in north only": refused.said},
        )

    def s24_what_is_upstream_now(self) -> Look:
        """A Stage that matches upstream takes older Freight again, once upstream has gone back to it."""
        bench = self._bench
        for number, freight in enumerate((self._older, self._newer, self._older), start=1):
            if number > 1:
                self._promote_and_verify("north", freight)
            bench.refresh("Stage", "following")
            bench.wait_for_promotions("following", number)
        return look_at(lambda: [bench.get("Stage", "following"), *bench.promotions("following")])

    def s25_settings_that_are_wrong(self) -> Look:
        """A setting that a step has not, and steps after it that ask how it ended; a misspelt function."""
        bench = self._bench
        failed, errored = (bench.promote(stage, self._older) for stage in ("failing", "misspelt"))
        bench.wait_for_phase(failed, "Failed")
        bench.wait_for_phase(errored, "Errored")
        return look_at(
            lambda: [bench.get("Promotion", failed), bench.get("Stage", "failing"), bench.get("Promotion", errored)]
        )

    def s26_step_of_kargo_only(self) -> Look:
        """A step that Kargo has and the stand-in has not."""
        bench = self._bench
        promotion = bench.promote("elsewhere", self._older)
        bench.wait_for_phase(promotion, "Succeeded", "Errored")
        return look_at(lambda: [bench.get("Promotion", promotion), bench.get("Stage", "elsewhere")])

    def s27_stages_without_steps_or_shard(self) -> Look:
        """A Stage without steps, and a Promotion to a Stage of a shard that nobody runs."""
        bench = self._bench
        promotion = bench.promote("nobodys", self._older)
        return look_at(
            lambda: [
                bench.get("Stage", "passing"),
                bench.get("Stage", "nobodys"),
                bench.get("Promotion", promotion),
                bench.get("Freight", self._older),
                bench.get("Freight", self._newer),
            ]
        )

    def s28_refused_at_admission(self) -> Look:
        """What admission refuses, and a Warehouse that it accepts though no Freight can come of it."""
        bench = self._bench
        answers: Obj = {}
        for manifest in bench.manifests("contract-refused", OLDER=self._older):
            answer = bench.create(manifest)
            metadata = manifest["metadata"]
            name = metadata.get("name") or metadata["generateName"].rstrip("-")
            answers[f"{manifest['kind']} {name}"] = answer.said or "accepted"
        promotion = bench.promotions("north")[0]["metadata"]["name"]
        answers["Promotion, other Freight"] = bench.refusal(
            "patch", "promotion", promotion, "--type", "merge", "--patch", f'{{"spec": {{"freight": "{self._newer}"}}}}'
        )
        answers["Freight, alias that is taken"] = bench.refusal(
            "patch", "freight", self._newer, "--type", "merge", "--patch", '{"alias": "older"}'
        )
        self._promote_and_verify("south", self._newer)
        answers["Freight, deleted while in use"] = bench.refusal("delete", "freight", self._newer, "--wait=false")
        return look_at(lambda: [bench.get("Warehouse", "same-twice")], **answers)

    def s29_verification_and_queued_promotion_aborted(self) -> Look:
        """A Promotion that waits for a verification is aborted, then the verification itself."""
        bench = self._bench
        bench.wait_for_phase(bench.promote("verifying", self._older), "Succeeded")
        bench.wait_for_verification("verifying", "Running")
        queued = bench.promote("verifying", self._newer)
        bench.wait_for_phase(queued, "Pending")
        bench.annotate("Promotion", queued, ABORT, "terminate")
        bench.wait_for_phase(queued, "Aborted")
        bench.annotate("Stage", "verifying", ABORT, bench.verification("verifying")["id"])
        bench.wait_for_verification("verifying", "Failed")
        bench.refresh("Stage", "verifying")
        return look_at(lambda: [bench.get("Promotion", queued), bench.get("Stage", "verifying")])

    def _promoted(self, phase: str, *stages: str) -> Look:
        bench = self._bench
        promotions = [bench.promote(stage, self._older) for stage in stages]
        for promotion in promotions:
            bench.wait_for_phase(promotion, phase)
        return look_at(
            lambda: [
                *(bench.get("Promotion", promotion) for promotion in promotions),
                *(bench.get("Stage", stage) for stage in stages),
            ]
        )

    def _promote_and_verify(self, stage: str, freight: str) -> None:
        bench = self._bench
        bench.wait_for_phase(bench.promote(stage, freight), "Succeeded")
        bench.wait_until_verified(stage, freight)

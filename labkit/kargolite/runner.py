"""Runs a Promotion's steps, from where it stopped, as far as they go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labkit.asynckube.objects import Obj, now, seconds_since
from labkit.kargolite.durations import format_duration, parse_duration
from labkit.kargolite.expressions import ExpressionError, Function, evaluate_template, evaluate_values
from labkit.kargolite.steps.argocd import ARGOCD_STEPS
from labkit.kargolite.steps.base import (
    Step,
    StepContext,
    StepError,
    StepFailure,
    StepResult,
    elsewhere,
    problems,
)
from labkit.kargolite.steps.git import GIT_STEPS
from labkit.kargolite.steps.kustomize import KUSTOMIZE_STEPS
from labkit.kargolite.steps.pull_requests import PULL_REQUEST_STEPS
from labkit.kargolite.urls import without_password

log = logging.getLogger("kargolite.runner")

STEPS: Mapping[str, Step] = {**GIT_STEPS, **KUSTOMIZE_STEPS, **PULL_REQUEST_STEPS, **ARGOCD_STEPS}
STEPS_ELSEWHERE = frozenset(
    {
        *("argocd-wait", "compose-output", "copy", "delete", "fail", "file-write", "git-merge-pr", "git-tag"),
        *("github-push", "helm-template", "helm-update-chart", "http", "http-download", "json-parse", "json-update"),
        *("oci-download", "oci-push", "set-freight-alias", "set-metadata", "toml-parse", "toml-update", "untar"),
        *("yaml-merge", "yaml-parse", "yaml-update"),
    }
)

_SEVERITY = ("Succeeded", "Skipped", "Running", "Aborted", "Failed", "Errored")


@dataclass(frozen=True)
class Names:
    """What expressions in steps may use, apart from what the steps themselves add.

    Attributes:
        ctx: The variable `ctx`, without its `meta.step`.
        functions: Functions that look at Freight and Secrets.
        variables: The Promotion's own variables, in order, not evaluated.
    """

    ctx: Mapping[str, Any]
    functions: Mapping[str, Function]
    variables: Sequence[Obj]


@dataclass(frozen=True)
class Progress:
    """How far a Promotion has come.

    Attributes:
        phase: `Running`, or how it ended.
        message: Why it ended so.
        current_step: Index of the step it is at.
        steps: `status.stepExecutionMetadata`.
        state: `status.state`; None for steps that ran and gave no output.
        health_checks: The health checks that the steps gave, this time.
        retry: Whether a step failed and is to be tried again after a pause.
        look_again: Seconds after which the running step wants to be called again.
        deadline: Seconds until the running step times out.
    """

    phase: str
    message: str
    current_step: int
    steps: list[Obj]
    state: Obj
    health_checks: list[Obj]
    retry: bool = False
    look_again: float | None = None
    deadline: float | None = None


async def run_steps(
    steps: Sequence[Obj], context: StepContext, names: Names, *, start: int, metadata: list[Obj], state: Obj
) -> Progress:
    """Run steps until one has to wait, or all are done.

    Args:
        steps: `spec.steps` of the Promotion.
        context: What steps work with; its alias and state are set for each.
        names: What expressions may use.
        start: Index of the first step to run.
        metadata: `status.stepExecutionMetadata` so far; changed in place.
        state: `status.state` so far; changed in place.
    """
    health_checks: list[Obj] = []
    for index in range(start, len(steps)):
        step = steps[index]
        record = _record(metadata, step)
        attempt = _Attempt(step, record, metadata, state, names, replace(context, alias=step["as"], state=state))
        result = await attempt.run()
        if attempt.called:
            state[step["as"]] = result.output
        if result.health_check and record["status"] == "Succeeded":
            health_checks.append(result.health_check)
        if not attempt.done:
            return Progress(
                phase="Running",
                message=record.get("message", "") if attempt.retry else "",
                current_step=index,
                steps=metadata,
                state=state,
                health_checks=health_checks,
                retry=attempt.retry,
                look_again=result.look_again,
                deadline=attempt.seconds_left(),
            )
    phase, message = _final_phase(steps, metadata)
    return Progress(phase, message, len(steps) - 1, metadata, state, health_checks)


class _Attempt:
    """One call of one step, and what it means for the step's record."""

    def __init__(
        self,
        step: Obj,
        record: Obj,
        metadata: list[Obj],
        state: Obj,
        names: Names,
        context: StepContext,
    ) -> None:
        self._step = step
        self._record = record
        self._metadata = metadata
        self._state = state
        self._names = names
        self._context = context
        self.called = False
        self.done = True
        self.retry = False

    async def run(self) -> StepResult:
        alias, kind = self._step["as"], self._step.get("uses", "")
        if "startedAt" not in self._record:
            try:
                if self._skipped():
                    self._record["status"] = "Skipped"
                    return StepResult(status="Skipped")
            except ExpressionError as error:
                return self._end("Errored", f'error checking if step "{alias}" should be skipped: {error}', None)
        if kind not in STEPS:
            return self._end("Errored", _unknown(kind), None)
        self._record.setdefault("startedAt", now())
        try:
            config = evaluate_values(self._step.get("config") or {}, self._variables(), self._functions())
        except ExpressionError as error:
            message = f"failed to build step context: failed to get step config: {error}"
            return self._end("Errored", message, None)
        return await self._call(alias, kind, config)

    async def _call(self, alias: str, kind: str, config: Obj) -> StepResult:
        self.called = True
        if wrong := problems(config, STEPS[kind].shape):
            return self._end("Failed", f'step "{alias}": invalid {kind} config: ' + "\n".join(wrong))
        if missing := elsewhere(config, STEPS[kind].shape):
            what = f"{', '.join(missing)} of step kind {kind}"
            return self._end("Errored", f"{what} is not part of kargolite; the genuine Kargo engine has it")
        try:
            result = await STEPS[kind].run(self._context, config)
        except StepFailure as failure:
            self._end("Failed", f'step "{alias}": {failure}')
            return StepResult(status="Failed", output=failure.output)
        except StepError as error:
            return self._failed(f'error running step "{alias}": {error}')
        except Exception as error:
            log.exception("%s: step %s broke down", self._context.promotion, alias)
            what = without_password(str(error) or type(error).__name__)
            message = f'an unrecoverable error occurred: error running step "{alias}": step panicked: {what}'
            return self._end("Errored", message)
        self._record["status"] = result.status
        self._record.pop("message", None)
        if result.status == "Running":
            self._wait()
        else:
            self._record["finishedAt"] = now()
            log.info("%s: step %s %s", self._context.promotion, alias, result.status)
        return result

    def seconds_left(self) -> float | None:
        """Seconds until the step times out, None if it does not."""
        timeout = self._timeout()
        return timeout - seconds_since(self._record["startedAt"]) if timeout > 0 else None

    def _failed(self, message: str) -> StepResult:
        self._record["errorCount"] = self._record.get("errorCount", 0) + 1
        threshold = (self._step.get("retry") or {}).get("errorThreshold") or 1
        if self._record["errorCount"] >= threshold:
            alias = self._step["as"]
            return self._end("Errored", f'step "{alias}" met error threshold of {threshold}: {message}')
        self._record |= {"status": "Errored", "message": f"{message}; step will be retried"}
        self.retry = self._wait()
        return StepResult(status="Errored")

    def _wait(self) -> bool:
        """Leave the step for later, unless its time is over."""
        left = self.seconds_left()
        if left is not None and left < 0:
            shown = format_duration(self._timeout())
            self._end("Errored", f'step "{self._step["as"]}" timed out after {shown}')
            return False
        self.done = False
        return True

    def _timeout(self) -> float:
        given = (self._step.get("retry") or {}).get("timeout")
        return parse_duration(given) if given else STEPS[self._step["uses"]].timeout

    def _end(self, status: str, message: str, finished: str | None = "now") -> StepResult:
        self._record |= {"status": status, "message": message}
        if finished:
            self._record["finishedAt"] = now()
        log.info("%s: step %s %s: %s", self._context.promotion, self._step["as"], status, message)
        return StepResult(status=status)

    def _skipped(self) -> bool:
        condition = self._step.get("if")
        if not condition:
            return has_failures(self._metadata)
        value = evaluate_template(condition, self._variables(), self._functions())
        if not isinstance(value, bool):
            raise ExpressionError(f"expression must evaluate to a boolean, got {type(value).__name__}")
        return not value

    def _variables(self) -> dict[str, Any]:
        ctx = dict(self._names.ctx)
        ctx["meta"] = {**ctx["meta"], "step": {"alias": self._step["as"]}}
        variables: dict[str, Any] = {}
        names: dict[str, Any] = {"ctx": ctx, "vars": variables}
        _evaluate_in_order(self._names.variables, names, self._names.functions)
        names |= {
            "outputs": self._state,
            "stepMetas": {record["alias"]: record for record in self._metadata},
        }
        _evaluate_in_order(self._step.get("vars") or [], names, self._names.functions)
        return names

    def _functions(self) -> dict[str, Function]:
        return {
            **self._names.functions,
            "always": lambda: True,
            "failure": lambda: has_failures(self._metadata),
            "success": lambda: not has_failures(self._metadata),
            "status": self._status,
        }

    def _status(self, alias: str) -> str:
        return next((str(record.get("status", "")) for record in self._metadata if record["alias"] == alias), "")


def has_failures(metadata: Sequence[Obj]) -> bool:
    """Whether a step failed that the Promotion does not go on without."""
    return any(
        record.get("status") in ("Errored", "Failed") and not record.get("continueOnError") for record in metadata
    )


def _evaluate_in_order(variables: Sequence[Obj], names: dict[str, Any], functions: Mapping[str, Function]) -> None:
    for variable in variables:
        try:
            value = evaluate_template(variable.get("value", ""), names, functions)
        except ExpressionError as error:
            raise ExpressionError(f'error pre-processing promotion variable "{variable["name"]}": {error}') from error
        names["vars"][variable["name"]] = value


def _record(metadata: list[Obj], step: Obj) -> Obj:
    for known in metadata:
        if known["alias"] == step["as"]:
            return known
    record: Obj = {"alias": step["as"]}
    if step.get("continueOnError"):
        record["continueOnError"] = True
    metadata.append(record)
    return record


def _unknown(kind: str) -> str:
    if kind in STEPS_ELSEWHERE:
        return f'step kind "{kind}" is not part of kargolite; the genuine Kargo engine has it'
    return (
        f'step kind "{kind}" is not registered; verify the kind is correct; if you are a Kargo Enterprise user, '
        "you may need to enable the promotion controller"
    )


def _final_phase(steps: Sequence[Obj], metadata: Sequence[Obj]) -> tuple[str, str]:
    status, message = "Succeeded", ""
    for step, record in zip(steps, metadata, strict=False):
        if not step.get("continueOnError") and _SEVERITY.index(record["status"]) > _SEVERITY.index(status):
            status, message = record["status"], record.get("message", "")
    if status == "Skipped":
        return "Succeeded", message
    return ("Errored" if status == "Running" else status), message

"""The two HTTP servers: admission webhooks by HTTPS, and health."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from labkit.asynckube.objects import Obj
from labkit.asynckube.server import ApiError
from labkit.kargolite.admission import Admission, Refusal, Review
from labkit.kargolite.refusals import internal
from labkit.process import LOOPBACK

log = logging.getLogger("kargolite.webhooks")

_PATH = r"/(mutate|validate)-kargo-akuity-io-v1alpha1-(\w+)"


class _Webhook(RequestHandler):
    """Answers an AdmissionReview, on the paths of Kargo's own webhooks server."""

    def initialize(self, admission: Admission) -> None:
        self._admission = admission

    async def post(self, action: str, kind: str) -> None:
        """Admit, fill in, or refuse."""
        body = json.loads(self.request.body)
        request = body["request"]
        response: Obj = {"uid": request["uid"], "allowed": True}
        try:
            response |= await self._answer(action, kind, _review(request))
        except Refusal as refusal:
            log.info("%s %s refused: %s", request["operation"], kind, refusal)
            response |= {"allowed": False, "status": refusal.status}
        except (ApiError, httpx.HTTPError) as error:
            log.warning("%s %s could not be decided: %s", request["operation"], kind, error)
            response |= {"allowed": False, "status": internal(str(error)).status}
        self.write({"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response})

    async def _answer(self, action: str, kind: str, review: Review) -> Obj:
        if action == "mutate":
            changed = await self._admission.mutating[kind](review)
            return _json_patch(review.obj, changed)
        await self._admission.validating[kind](review)
        return {}

    def log_request(self) -> None:
        pass


class _ReplicatedResource(RequestHandler):
    """Admits replicated Secrets and ConfigMaps: kargolite makes none, so it has none to protect."""

    async def post(self) -> None:
        """Admit."""
        body = json.loads(self.request.body)
        response = {"uid": body["request"]["uid"], "allowed": True}
        self.write({"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response})


class _Health(RequestHandler):
    """200 when everything is watched and admission is served, else 503 with what is missing."""

    def initialize(self, problems: Callable[[], list[str]]) -> None:
        self._problems = problems

    def get(self) -> None:
        """Say how it is."""
        problems = self._problems()
        self.set_status(503 if problems else 200)
        self.write({"status": "waiting" if problems else "ok", "problems": problems})


def serve_webhooks(admission: Admission, port: int, certificates: Path) -> HTTPServer:
    """Listen for AdmissionReviews by HTTPS on 127.0.0.1."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    application = Application(
        [
            (_PATH, _Webhook, {"admission": admission}),
            (r"/validate-v1-replicated-resource", _ReplicatedResource),
        ]
    )
    return application.listen(port, LOOPBACK, ssl_options=tls)


def serve_health(problems: Callable[[], list[str]], port: int) -> HTTPServer:
    """Listen for `GET /healthz` on 127.0.0.1."""
    application = Application([(r"/healthz", _Health, {"problems": problems})], log_function=lambda _: None)
    return application.listen(port, LOOPBACK)


def _review(request: Obj) -> Review:
    user = request.get("userInfo") or {}
    before: Obj | None = request.get("oldObject")
    return Review(
        operation=request["operation"],
        obj=request.get("object") or before or {},
        before=before,
        user=user.get("username", ""),
        groups=tuple(user.get("groups") or ()),
        dry_run=bool(request.get("dryRun")),
    )


def _json_patch(before: Obj, after: Obj) -> Obj:
    patch = [
        {"op": "replace" if key in before else "add", "path": f"/{key}", "value": value}
        for key, value in after.items()
        if before.get(key) != value
    ]
    if not patch:
        return {}
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}

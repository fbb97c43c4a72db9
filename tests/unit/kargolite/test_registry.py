"""Discovery of images in a small registry that answers by the distribution specification."""

import asyncio
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from labkit.kargolite.registry import DiscoveryError, ImageRegistry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """Images in memory, behind the anonymous token that registries such as Gitea's ask for."""

    def __init__(self):
        self.manifests, self.blobs, self.page = {}, {}, 1000
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                registry.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self, tag, *, created="2026-11-23T06:22:08.123456789Z", annotations=None, labels=None):
        config = json.dumps({"created": created, "config": {"Labels": labels or {}}, "tag": tag}).encode()
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        self.blobs[digest] = config
        manifest = {"mediaType": MANIFEST, "config": {"digest": digest}, "layers": []}
        self.manifests[tag] = json.dumps(manifest | ({"annotations": annotations} if annotations else {})).encode()
        return "sha256:" + hashlib.sha256(self.manifests[tag]).hexdigest()

    def answer(self, request):
        path, _, query = request.path.partition("?")
        if path == "/token":
            return self._send(request, json.dumps({"token": "anonymous"}).encode())
        if request.headers.get("Authorization") != "Bearer anonymous":
            challenge = f'Bearer realm="http://{self.host}/token",service="registry",scope="*"'
            return self._send(request, b"{}", 401, {"WWW-Authenticate": challenge})
        _, _, *name, kind, reference = path.split("/")
        if name != ["lab", "frontend"]:
            return self._send(request, b"{}", 404)
        if kind == "tags":
            tags, last = sorted(self.manifests), dict(part.split("=") for part in query.split("&")).get("last", "")
            rest = [tag for tag in tags if tag > last]
            headers = {}
            if len(rest) > self.page:
                headers["Link"] = f'</v2/lab/frontend/tags/list?last={rest[self.page - 1]}>; rel="next"'
            return self._send(request, json.dumps({"tags": rest[: self.page]}).encode(), headers=headers)
        found = self.manifests.get(reference) if kind == "manifests" else self.blobs.get(reference)
        return self._send(request, found or b"{}", 200 if found else 404)

    def _send(self, request, body, code=200, headers=None):
        request.send_response(code)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def registry():
    found = Registry()
    yield found
    found.server.shutdown()
    found.server.server_close()


def discover(registry, name="lab/frontend", **subscription):
    async def once():
        images = ImageRegistry()
        try:
            return await images.discover({"repoURL": f"{registry.host}/{name}", **subscription})
        finally:
            await images.close()

    return asyncio.run(once())


def test_images_are_found_newest_first(registry):
    old = registry.push("0.9.0")
    new = registry.push("0.10.0", annotations={"org.opencontainers.image.revision": "abc"})
    registry.push("latest")
    assert discover(registry) == {
        "repoURL": f"{registry.host}/lab/frontend",
        "references": [
            {
                "tag": "0.10.0",
                "digest": new,
                "createdAt": "2026-11-23T06:22:08Z",
                "annotations": {"org.opencontainers.image.revision": "abc"},
            },
            {"tag": "0.9.0", "digest": old, "createdAt": "2026-11-23T06:22:08Z"},
        ],
    }


def test_all_pages_of_tags_are_read_and_the_limit_is_kept(registry):
    registry.page = 2
    for minor in range(5):
        registry.push(f"1.{minor}.0")
    found = discover(registry, discoveryLimit=3)
    assert [reference["tag"] for reference in found["references"]] == ["1.4.0", "1.3.0", "1.2.0"]


def test_a_stated_creation_time_counts_more_than_the_build_s(registry):
    registry.push("1.0.0", labels={"org.opencontainers.image.created": "2025-01-02T03:04:05Z"})
    assert discover(registry)["references"][0]["createdAt"] == "2025-01-02T03:04:05Z"


def test_the_newest_builds_are_found_by_the_time_of_their_making_whatever_their_tags_say(registry):
    created = "org.opencontainers.image.created"
    registry.push("1.1.0-feature-b.g1", labels={created: "2026-01-02T00:00:00Z"})
    registry.push("1.0.0-feature-a.g2", labels={created: "2026-01-03T00:30:00+02:00"})
    registry.push("1.0.0-feature-a.g1", labels={created: "2026-01-02T22:29:59Z"})
    registry.push("2.0.0", labels={created: "2026-01-09T00:00:00Z"})
    found = discover(registry, imageSelectionStrategy="NewestBuild", allowTagsRegexes=["-feature-"], discoveryLimit=2)
    assert [(item["tag"], item["createdAt"]) for item in found["references"]] == [
        ("1.0.0-feature-a.g2", "2026-01-02T22:30:00Z"),
        ("1.0.0-feature-a.g1", "2026-01-02T22:29:59Z"),
    ]


def test_no_fitting_tag_is_no_error(registry):
    registry.push("latest")
    assert discover(registry) == {"repoURL": f"{registry.host}/lab/frontend"}


@pytest.mark.parametrize(
    ("name", "subscription", "message"),
    [
        ("lab/backend", {}, "the repository is not known"),
        ("lab/frontend", {"constraint": "nonsense"}, "improper constraint"),
        ("lab/frontend", {"imageSelectionStrategy": "Lexical"}, "Lexical is not part of kargolite"),
        ("lab/frontend", {"platform": "linux/arm64"}, "platform constraints are not part of kargolite"),
    ],
)
def test_what_cannot_be_discovered_is_said(registry, name, subscription, message):
    registry.push("1.0.0")
    with pytest.raises(DiscoveryError, match=message):
        discover(registry, name, **subscription)


def test_an_index_is_left_to_kargo(registry):
    registry.manifests["1.0.0"] = json.dumps({"manifests": []}).encode()
    with pytest.raises(DiscoveryError, match="the genuine Kargo engine reads it"):
        discover(registry)


def test_a_registry_that_does_not_answer(registry):
    registry.server.shutdown()
    registry.server.server_close()
    with pytest.raises(DiscoveryError, match="error discovering newest applicable images"):
        discover(registry)

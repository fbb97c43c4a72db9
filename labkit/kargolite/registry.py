"""Discovery of images in an OCI registry (https://github.com/opencontainers/distribution-spec)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import httpx

from labkit.asynckube.objects import Obj
from labkit.errors import LabError
from labkit.kargolite.versions import parse_constraint, parse_version

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPT = ", ".join(
    (
        _MANIFEST,
        _INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_CREATED = ("org.opencontainers.image.created", "org.label-schema.build-date")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PAGE = 1000


class DiscoveryError(LabError):
    """A registry could not be read."""


class ImageRegistry:
    """Reads repositories; manifests are kept by digest, as they never change."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=20.0, trust_env=False, follow_redirects=True)
        self._known: dict[tuple[str, str], Obj] = {}
        self._tokens: dict[str, str] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def discover(self, subscription: Obj) -> Obj:
        """Find the images that a Warehouse's image subscription selects, the newest version first.

        Args:
            subscription: `spec.subscriptions[].image` of a Warehouse.

        Returns:
            An entry for `status.discoveredArtifacts.images`.

        Raises:
            DiscoveryError: The registry cannot be read, or the subscription asks for what kargolite has not.
        """
        repository = subscription["repoURL"]
        strategy = subscription.get("imageSelectionStrategy") or "SemVer"
        if strategy not in ("SemVer", "NewestBuild"):
            raise DiscoveryError(
                f"image selection strategy {strategy} is not part of kargolite; the genuine Kargo engine has it"
            )
        if subscription.get("platform"):
            raise DiscoveryError("platform constraints are not part of kargolite; the genuine Kargo engine has them")
        try:
            tags = await self._tags(repository)
            limit = subscription.get("discoveryLimit") or 20
            if strategy == "SemVer":
                references = await self._references(repository, select_versions(tags, subscription)[:limit])
            else:
                references = newest_builds(await self._references(repository, admitted(tags, subscription)))[:limit]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise DiscoveryError(
                f'error discovering newest applicable images "{repository}": {error or type(error).__name__}'
            ) from error
        found: Obj = {"repoURL": repository}
        if references:
            found["references"] = references
        return found

    async def _tags(self, repository: str) -> list[str]:
        tags: list[str] = []
        address: str | httpx.URL | None = f"{_base(repository)}/tags/list?n={_PAGE}"
        while address:
            response = await self._get(address)
            if response.status_code == 404:
                raise ValueError(f"error listing tags for repo URL {repository}: the repository is not known")
            response.raise_for_status()
            tags += response.json().get("tags") or []
            following = response.links.get("next", {}).get("url")
            address = response.url.join(following) if following else None
        return tags

    async def _references(self, repository: str, tags: list[str]) -> list[Obj]:
        return list(await asyncio.gather(*(self._reference(repository, tag) for tag in tags)))

    async def _reference(self, repository: str, tag: str) -> Obj:
        response = await self._get(f"{_base(repository)}/manifests/{tag}")
        response.raise_for_status()
        digest = "sha256:" + hashlib.sha256(response.content).hexdigest()
        known = (repository, digest)
        if known not in self._known:
            manifest = response.json()
            if "config" not in manifest:
                raise ValueError(
                    f"{repository}:{tag} is an image index, which is not part of kargolite; "
                    "the genuine Kargo engine reads it"
                )
            config = await self._get(f"{_base(repository)}/blobs/{manifest['config']['digest']}")
            config.raise_for_status()
            self._known[known] = _described(digest, manifest, config.json())
        return {"tag": tag} | self._known[known]

    async def _get(self, address: str | httpx.URL) -> httpx.Response:
        """GET, with the anonymous token that a registry may ask for.

        Source: https://distribution.github.io/distribution/spec/auth/token/
        """
        host = httpx.URL(address).netloc.decode()
        response = await self._client.get(address, headers=self._headers(host))
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code == 401 and challenge.lower().startswith("bearer "):
            facts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
            params = {name: facts[name] for name in ("service", "scope") if name in facts}
            answer = await self._client.get(facts["realm"], params=params)
            answer.raise_for_status()
            self._tokens[host] = answer.json().get("token") or answer.json()["access_token"]
            response = await self._client.get(address, headers=self._headers(host))
        return response

    def _headers(self, host: str) -> dict[str, str]:
        token = self._tokens.get(host)
        return {"Accept": _ACCEPT} | ({"Authorization": f"Bearer {token}"} if token else {})


def admitted(tags: list[str], subscription: Obj) -> list[str]:
    """The tags that a subscription's regular expressions admit.

    Raises:
        ValueError: A regular expression cannot be read.
    """
    allowed = [re.compile(text) for text in subscription.get("allowTagsRegexes") or []]
    ignored = [re.compile(text) for text in subscription.get("ignoreTagsRegexes") or []]
    return [
        tag
        for tag in tags
        if not any(regex.search(tag) for regex in ignored)
        and (not allowed or any(regex.search(tag) for regex in allowed))
    ]


def newest_builds(references: list[Obj]) -> list[Obj]:
    """Images by the time of their making, the newest first; of one moment, the last tag in the alphabet.

    Raises:
        ValueError: An image does not say when it was made.
    """
    for reference in references:
        if "createdAt" not in reference:
            raise ValueError(f"image {reference['tag']} does not say when it was made")
    return sorted(references, key=lambda item: (item["createdAt"], item["tag"]), reverse=True)


def select_versions(tags: list[str], subscription: Obj) -> list[str]:
    """The tags that a subscription by SemVer admits, the newest version first.

    Raises:
        ValueError: A regular expression or the constraint cannot be read.
    """
    constraint = subscription.get("constraint")
    admits = parse_constraint(constraint) if constraint else None
    found = []
    for tag in admitted(tags, subscription):
        version = parse_version(tag, strict=subscription.get("strictSemvers", True))
        if version is not None and (admits is None or admits(version)):
            found.append((version, tag))
    return [tag for _, tag in sorted(found, reverse=True)]


def _described(digest: str, manifest: Obj, config: Obj) -> Obj:
    annotations = manifest.get("annotations") or {}
    labels = (config.get("config") or {}).get("Labels") or {}
    described: Obj = {"digest": digest}
    if annotations:
        described["annotations"] = annotations
    if created := _created(annotations, labels, config.get("created")):
        described["createdAt"] = created
    return described


def _created(annotations: Obj, labels: Obj, fallback: Any) -> str:
    stated = [source[name] for source in (annotations, labels) for name in _CREATED if name in source]
    for value in [*stated, fallback]:
        try:
            time = datetime.fromisoformat(re.sub(r"\.\d+", "", str(value)))
        except ValueError:
            continue
        in_utc = time.astimezone(UTC) if time.tzinfo else time
        return in_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return ""


def _base(repository: str) -> str:
    host, _, path = repository.partition("/")
    scheme = "http" if host.rpartition(":")[0] in _LOOPBACK or host in _LOOPBACK else "https"
    return f"{scheme}://{host}/v2/{path}"

"""The functions of Kargo's expressions that look at Freight and Secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.asynckube.objects import Obj
from labkit.kargolite.credentials import secret_data
from labkit.kargolite.expressions import ExpressionError, Function, Record, TextMap
from labkit.kargolite.model import origin_key

FindByName = Callable[[str], Obj | None]


def freight_functions(
    requests: Sequence[Obj], freight: Sequence[Obj], warehouse: FindByName, secret: FindByName
) -> dict[str, Function]:
    """`imageFrom`, `warehouse` and `secret`.

    Args:
        requests: The Stage's `spec.requestedFreight`.
        freight: The references in its Freight collection.
        warehouse: Finds a Warehouse of the Project.
        secret: Finds a Secret of the Project.
    """

    def image_from(repo_url: str, origin: Record | None = None) -> Record | None:
        wanted = _origin(origin) if origin else _subscribed_origin(repo_url, requests, warehouse)
        for reference in freight:
            if origin_key(reference["origin"]) == wanted:
                for image in reference.get("images") or []:
                    if image.get("repoURL") == repo_url:
                        return _image(image)
        return None

    def warehouse_origin(name: str) -> Record:
        if not name:
            raise ValueError("name must not be empty")
        return Record("FreightOrigin", {"Kind": "Warehouse", "Name": name})

    return {
        "imageFrom": image_from,
        "warehouse": warehouse_origin,
        "secret": lambda name: secret_data(secret(name)),
    }


def _origin(origin: Record) -> str:
    return f"{origin.fields['Kind']}/{origin.fields['Name']}"


def _subscribed_origin(repo_url: str, requests: Sequence[Obj], warehouse: FindByName) -> str:
    origins = []
    for request in requests:
        name = request["origin"]["name"]
        found = warehouse(name)
        if found is None:
            raise ExpressionError(f'Warehouse "{name}" not found')
        for subscription in found["spec"].get("subscriptions") or []:
            if (subscription.get("image") or {}).get("repoURL") == repo_url:
                origins.append(origin_key(request["origin"]))
    if len(origins) > 1:
        raise ExpressionError(
            f"multiple requested Freight could potentially provide a container image from repository {repo_url}: "
            "please provide a Freight origin to disambiguate"
        )
    return origins[0] if origins else ""


def _image(image: Obj) -> Record:
    return Record(
        "Image",
        {
            "RepoURL": image.get("repoURL", ""),
            "Tag": image.get("tag", ""),
            "Digest": image.get("digest", ""),
            "Annotations": TextMap(image.get("annotations") or {}),
        },
    )

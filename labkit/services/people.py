"""The lab's people in each cluster: Kubernetes users with rights of their own, acted as by impersonation."""

from __future__ import annotations

from labkit.clusters import kube
from labkit.config import Lab
from labkit.templates import manifests


def ensure_people(lab: Lab) -> None:
    """What people may see in the clusters; what they may ask of Kargo comes with its Project."""
    for environment in lab.environments:
        kube(lab, environment).apply(*manifests("people/rbac.yaml", people=sorted(lab.people)))

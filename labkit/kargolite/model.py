"""What the reconcilers work on: the kinds, their keys, and the labels and annotations of Kargo v1.11.2's API."""

from __future__ import annotations

from labkit.asynckube.objects import Obj, Resource

GROUP = "kargo.akuity.io"
API_VERSION = f"{GROUP}/v1alpha1"
FINALIZER = f"{GROUP}/finalizer"

LABEL_ALIAS = f"{GROUP}/alias"
LABEL_CREDENTIAL_TYPE = f"{GROUP}/cred-type"
LABEL_FREIGHT_COLLECTION = f"{GROUP}/freight-collection"
LABEL_PROJECT = f"{GROUP}/project"
LABEL_SHARD = f"{GROUP}/shard"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_ANALYSIS_CONTROLLER = "argo-rollouts.argoproj.io/controller-instance-id"

ANNOTATION_ABORT = f"{GROUP}/abort"
ANNOTATION_ARGOCD_CONTEXT = f"{GROUP}/argocd-context"
ANNOTATION_AUTHORIZED_STAGE = f"{GROUP}/authorized-stage"
ANNOTATION_CREATE_ACTOR = f"{GROUP}/create-actor"
ANNOTATION_HOLD = f"{GROUP}/auto-promotion-hold"
ANNOTATION_KEEP_NAMESPACE = f"{GROUP}/keep-namespace"
ANNOTATION_PROMOTION = f"{GROUP}/promotion"
ANNOTATION_REFRESH = f"{GROUP}/refresh"
ANNOTATION_RESUME = f"{GROUP}/auto-promotion-resume"
ANNOTATION_REVERIFY = f"{GROUP}/reverify"
ANNOTATION_ROLLBACK = f"{GROUP}/rollback"
ANNOTATION_STAGE = f"{GROUP}/stage"

PROMOTION_ENDS = frozenset({"Succeeded", "Failed", "Errored", "Aborted"})
VERIFICATION_ENDS = frozenset({"Successful", "Failed", "Error", "Aborted", "Inconclusive"})

PROJECT = Resource("Project", "projects", GROUP, "v1alpha1", namespaced=False)
PROJECT_CONFIG = Resource("ProjectConfig", "projectconfigs", GROUP, "v1alpha1")
WAREHOUSE = Resource("Warehouse", "warehouses", GROUP, "v1alpha1")
FREIGHT = Resource("Freight", "freights", GROUP, "v1alpha1")
STAGE = Resource("Stage", "stages", GROUP, "v1alpha1")
PROMOTION = Resource("Promotion", "promotions", GROUP, "v1alpha1")
APPLICATION = Resource("Application", "applications", "argoproj.io", "v1alpha1")
ANALYSIS_RUN = Resource("AnalysisRun", "analysisruns", "argoproj.io", "v1alpha1")
ANALYSIS_TEMPLATE = Resource("AnalysisTemplate", "analysistemplates", "argoproj.io", "v1alpha1")
CLUSTER_ANALYSIS_TEMPLATE = Resource(
    "ClusterAnalysisTemplate", "clusteranalysistemplates", "argoproj.io", "v1alpha1", namespaced=False
)
ACCESS_REVIEW = Resource("SubjectAccessReview", "subjectaccessreviews", "authorization.k8s.io", "v1", namespaced=False)


def origin_key(origin: Obj) -> str:
    """A Freight origin as Kargo writes it in maps and annotations, such as `Warehouse/demo-app`."""
    return f"{origin['kind']}/{origin['name']}"

"""Conditions, merge patches, addresses, credentials, requests, refusals, configuration."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.asynckube.server import merge_patch
from labkit.errors import UsageError
from labkit.kargolite.conditions import get_condition, remove_condition, set_condition
from labkit.kargolite.credentials import Credentials, git_credentials, secret_data
from labkit.kargolite.refusals import FieldProblem, invalid
from labkit.kargolite.requests import Request, abort_promotion_request, reverify_request
from labkit.kargolite.settings import load_settings
from labkit.kargolite.urls import normalize_git, without_password

from .recordings import objects, recording

_VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
_MAPS = st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4)


def _applied(target, patch):
    """RFC 7386, section 2."""
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _applied(result.get(key), value)
        else:
            result[key] = value
    return result


@given(_MAPS, _MAPS)
def test_a_merge_patch_leads_from_the_old_to_the_new(old, new):
    assert _applied(old, merge_patch(old, new)) == new


@given(_MAPS)
def test_nothing_is_patched_where_nothing_differs(value):
    assert merge_patch(value, value) == {}


def test_conditions_keep_their_place_and_first_time():
    status = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    set_condition(status, "Healthy", "True", "Healthy", generation=1)
    set_condition(status, "Ready", "True", "Verified", "Freight has been verified", generation=2)
    assert [item["type"] for item in status["conditions"]] == ["Ready", "Healthy"]
    assert get_condition(status, "Ready") == {
        "type": "Ready",
        "status": "True",
        "reason": "Verified",
        "message": "Freight has been verified",
        "observedGeneration": 2,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    remove_condition(status, "Ready")
    assert get_condition(status, "Ready") is None


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://bot:secret@127.0.0.1:3000/lab/gitops.git", "http://127.0.0.1:3000/lab/gitops"),
        ("https://GitHub.com/Akuity/Kargo/", "https://github.com/akuity/kargo"),
        ("git@github.com:akuity/kargo.git", "ssh://git@github.com/akuity/kargo"),
        ("ssh://git@github.com/akuity/kargo.git", "ssh://git@github.com/akuity/kargo"),
    ],
)
def test_git_addresses(url, normal):
    assert normalize_git(url) == normal
    assert normalize_git(normal) == normal


def test_passwords_are_hidden():
    shown = without_password("error cloning http://bot:s3cret@127.0.0.1:3000/lab/gitops.git: no")
    assert shown == "error cloning http://***@127.0.0.1:3000/lab/gitops.git: no"


def _secret(name, kind, **data):
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": name, "labels": {"kargo.akuity.io/cred-type": kind}}, "data": encoded}


def test_git_credentials_are_found_by_repository():
    secrets = [
        _secret("b", "git", repoURL="http://localhost:3000/lab/gitops.git", username="bot", password="b"),
        _secret("a", "generic", repoURL="http://localhost:3000/lab/gitops.git", username="bot", password="a"),
        _secret("c", "git", repoURL="^http://localhost:3000/.*", repoURLIsRegex="true", username="any", password="c"),
    ]
    assert git_credentials(secrets, "http://x@localhost:3000/lab/gitops") == Credentials("bot", "b")
    assert git_credentials(secrets, "http://localhost:3000/lab/demo-app.git") == Credentials("any", "c")
    assert git_credentials(secrets, "http://127.0.0.1:3000/lab/gitops.git") is None
    assert secret_data(None) == {}


def test_requests_are_read_as_text_or_json_and_signed():
    assert abort_promotion_request({"kargo.akuity.io/abort": "terminate"}) == Request("terminate", "")
    recorded = recording("09")["objects"][0]["metadata"]["annotations"]["kargo.akuity.io/abort"]
    request = abort_promotion_request({"kargo.akuity.io/abort": recorded})
    assert request == Request("terminate", "kubernetes:kwok-admin")
    assert request.to_annotation("action") == recorded
    assert reverify_request({"kargo.akuity.io/reverify": '{"actor": "x"}'}) is None
    assert reverify_request({}) is None


def test_a_refusal_reads_as_recorded():
    freight = next(objects("Freight"))["metadata"]["name"]
    problem = FieldProblem("spec.freight", freight, "Freight is not available to this Stage")
    status = invalid("Promotion", "pre.01x.abc", [problem]).status
    assert (status["code"], status["reason"]) == (422, "Invalid")
    cause = status["details"]["causes"][0]["message"]
    shown = f'The Promotion "{status["details"]["name"]}" is invalid: spec.freight: {cause}'
    recorded = recording("03")["answers"]["refused while soaking (requiredSoakTime 10s)"]
    assert shown == recorded.replace(recorded.split('"')[1], "pre.01x.abc")


CONFIGURATION = """
controlKubeconfig: /lab/dev
shards: {dev: {kubeconfig: /lab/dev}, pre: {kubeconfig: /lab/pre}}
argocdNamespace: argocd
webhooks: {port: 1, certDir: /lab/certs}
health: {port: 2}
workDir: /lab/work
"""


def test_the_configuration_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIGURATION)
    settings = load_settings(tmp_path / "config.yaml")
    assert list(settings.shards) == ["dev", "pre"]
    assert settings.default_shard == "dev"


@pytest.mark.parametrize(
    "change", [("workDir: /lab/work", ""), ("health: {port: 2}", "health: {port: x}"), ("shards:", "x:")]
)
def test_a_wrong_configuration_is_named(tmp_path, change):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIGURATION.replace(*change))
    with pytest.raises(UsageError, match=r"config\.yaml does not configure kargolite"):
        load_settings(file)

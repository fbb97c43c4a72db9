"""Freight that is verified in dev only is refused for prod, in Kargo's words, and PROD does not move."""

import re

import pytest
import yaml
from _labkit import labkit, rollout_state

from labkit.errors import LabError
from labkit.process import run
from labkit.promotion import freight_table

ULID = "[0-9a-z]{26}"


@pytest.fixture
def newest(lab):
    (found,) = (freight for freight in freight_table(lab) if freight.versions == lab.releases[-1].versions)
    assert found.verified_in == ("dev",), "the main job left the newest Freight verified in more than dev"
    return found


def _promotions(lab):
    return {row["promotion"] for row in labkit(lab, "get", "promotions", "--output", "json").json}


def test_kubectl_is_refused_as_kargo_refuses(lab, newest):
    """Kargo v1.11.2's own answer: tests/conformance/recordings/06-unverified-freight-refused.json."""
    before, promotions = rollout_state(lab, "prod"), _promotions(lab)
    promotion = {
        "apiVersion": "kargo.akuity.io/v1alpha1",
        "kind": "Promotion",
        "metadata": {"generateName": "prod-", "namespace": "demo-app"},
        "spec": {"stage": "prod", "freight": newest.name},
    }
    kubectl = [lab.home.bin / "kubectl", "--kubeconfig", lab.home.kubeconfig, "--context", lab.control.context]
    with pytest.raises(LabError) as caught:
        run([*kubectl, "create", "-f", "-"], stdin=yaml.safe_dump(promotion))
    wanted = (
        rf'The Promotion "prod\.{ULID}\.{newest.name[:7]}" is invalid: '
        rf'spec\.freight: Invalid value: "{newest.name}": Freight is not available to this Stage'
    )
    assert re.fullmatch(wanted, caught.value.seen), caught.value.seen
    assert _promotions(lab) == promotions
    assert rollout_state(lab, "prod") == before


def test_labkit_hands_on_kargos_words(lab, newest):
    before = rollout_state(lab, "prod")
    done = labkit(lab, "promote", "--from", "pre", "--to", "prod", "--freight", newest.alias, "--approve")
    assert done.code == 1, done
    assert f'Invalid value: "{newest.name}": Freight is not available to this Stage' in done.err
    assert "Traceback" not in done.err
    assert rollout_state(lab, "prod") == before

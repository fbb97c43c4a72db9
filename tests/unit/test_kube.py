"""What labkit reads from Kubernetes objects."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.clusters.kubeconfig import write_kubeconfig
from labkit.errors import LabError
from labkit.kube import Kube, conditions
from labkit.quantities import quantity

# Resource quantity format of the Kubernetes API reference.
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("8Gi", 8 * 2**30), ("500m", 0.5), ("4", 4), ("0", 0), ("1.5Gi", 1.5 * 2**30), ("128974848", 128974848)],
)
def test_examples(text, number):
    assert quantity(text) == number


@given(st.integers(0, 10**6), st.sampled_from(sorted(BINARY)))
def test_binary_suffixes(number, suffix):
    assert quantity(f"{number}{suffix}") == number * BINARY[suffix]


@given(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(DECIMAL)))
def test_decimal_suffixes(number, suffix):
    assert quantity(f"{number}{suffix}") == pytest.approx(float(number * Decimal(DECIMAL[suffix])))


@pytest.mark.parametrize("text", ["", "Gi", "8GB", "eight", "1,5Gi"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="is no quantity"):
        quantity(text)


def test_conditions_by_type():
    ready = {"type": "Ready", "status": "True", "reason": "Verified"}
    verified = {"type": "Verified", "status": "Unknown"}
    assert conditions({"status": {"conditions": [ready, verified]}}) == {"Ready": "True", "Verified": "Unknown"}


@pytest.mark.parametrize("manifest", [{}, {"status": None}, {"status": {}}, {"status": {"conditions": None}}])
def test_an_object_that_nobody_looked_at_has_no_conditions(manifest):
    assert conditions(manifest) == {}


@pytest.mark.parametrize(("user", "header"), [({"token": "t"}, None), ({"token": "t", "as": "qa"}, "qa")])
def test_whom_a_kubeconfig_has_one_act_as_is_whom_one_acts_as(tmp_path, user, header):
    """The official client leaves it out: one would act as the administrator who may impersonate."""
    file = tmp_path / "kubeconfig"
    write_kubeconfig(file, {"one": {"cluster": {"server": "https://127.0.0.1:1"}, "user": user}})
    assert Kube(file, "one")._api.default_headers.get("Impersonate-User") == header
    assert Kube(file, "one", as_user="viewer")._api.default_headers["Impersonate-User"] == "viewer"


def test_groups_that_could_not_be_passed_on_are_refused(tmp_path):
    file = tmp_path / "kubeconfig"
    user = {"token": "t", "as": "qa", "as-groups": ["testers"]}
    write_kubeconfig(file, {"one": {"cluster": {"server": "https://127.0.0.1:1"}, "user": user}})
    with pytest.raises(LabError, match="groups of their own"):
        Kube(file, "one")

"""A container's variables."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.podrunner.environment import ConfigError, Sources, expand, references, variables

SETTINGS = {"data": {"LEVEL": "info", "URL": "http://backend:8080", "not a name": "x"}}
SECRET = {"data": {"TOKEN": base64.b64encode(b"hidden").decode()}}


def _pod(container, **spec):
    return {
        "metadata": {"name": "web-1", "namespace": "demo-app", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [container], **spec},
    }


def _variables(container, **sources):
    found = Sources(
        sources.get("config_maps", {"settings": SETTINGS}),
        sources.get("secrets", {"login": SECRET}),
    )
    return variables(container, _pod(container), found, pod_ip="10.1.0.2", host_ip="127.0.0.1")


def test_env_comes_after_env_from_and_may_use_what_is_known():
    found = _variables(
        {
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "LEVEL", "value": "debug"},
                {"name": "ORDERS", "value": "$(URL)/orders"},
                {"name": "LATER", "value": "$(AFTER)"},
                {"name": "AFTER", "value": "x"},
            ],
        }
    )
    assert found.values == {
        "LEVEL": "debug",
        "URL": "http://backend:8080",
        "ORDERS": "http://backend:8080/orders",
        "LATER": "$(AFTER)",
        "AFTER": "x",
    }


def test_fields_and_resources():
    found = _variables(
        {
            "resources": {"limits": {"memory": "64Mi", "cpu": "1500m"}},
            "env": [
                {"name": name, "valueFrom": source}
                for name, source in {
                    "NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
                    "APP": {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
                    "IP": {"fieldRef": {"fieldPath": "status.podIP"}},
                    "MEMORY": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
                    "CPU": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}},
                }.items()
            ],
        }
    )
    assert found.values == {"NAME": "web-1", "APP": "web", "IP": "10.1.0.2", "MEMORY": "64", "CPU": "2"}


def test_what_a_secret_had_a_part_in_is_confidential():
    found = _variables(
        {
            "envFrom": [{"secretRef": {"name": "login"}, "prefix": "MY_"}],
            "env": [
                {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "login", "key": "TOKEN"}}},
                {"name": "TWO", "value": "token=$(ONE)"},
                {"name": "THREE", "value": "$(OTHER)"},
            ],
        }
    )
    assert found.values["TWO"] == "token=hidden"
    assert found.public == {"THREE": "$(OTHER)"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "x"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "settings", "key": "x"}}, "couldn't find key x in ConfigMap demo-app/settings"),
        ({"secretKeyRef": {"name": "login", "key": "x"}}, "couldn't find key x in Secret demo-app/login"),
        ({"fieldRef": {"fieldPath": "spec.unknown"}}, "unsupported fieldPath: spec.unknown"),
    ],
)
def test_what_is_not_there_is_named(source, message):
    with pytest.raises(ConfigError, match=message):
        _variables({"env": [{"name": "X", "valueFrom": source}]})


def test_what_is_optional_may_be_missing():
    source = {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}
    assert _variables({"env": [{"name": "X", "valueFrom": source}]}).values == {}


def test_all_that_is_referred_to_is_named():
    container = {
        "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
        "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}],
    }
    volumes = [{"name": "v", "configMap": {"name": "d"}}, {"name": "w", "secret": {"secretName": "e"}}]
    assert references(_pod(container, volumes=volumes)) == ({"a", "d"}, {"b", "c", "e"})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)b", "1b"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A", "$A"), ("$$$(A)", "$1"), ("$(A", "$(A")],
)
def test_expansion(text, wanted):
    assert expand(text, {"A": "1"}) == wanted


@given(st.text().filter(lambda text: "$" not in text), st.dictionaries(st.text("AB", min_size=1), st.text()))
def test_text_without_references_stays_as_it_is(text, values):
    assert expand(text, values) == text


@given(st.text("$()AB"), st.dictionaries(st.text("AB", min_size=1), st.just("")))
def test_expansion_takes_any_text(text, values):
    assert len(expand(text, values)) <= len(text)

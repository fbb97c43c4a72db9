"""Which Service a name stands for, and who asks."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.podrunner.proxy import namespace_of_caller
from labkit.podrunner.services import Host, UnknownHost, parse_host

LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(LABEL, LABEL, st.sampled_from(["", ".svc", ".svc.cluster.local"]), st.sampled_from(["", "."]))
def test_names_with_a_namespace(service, namespace, suffix, dot):
    assert parse_host(f"{service}.{namespace}{suffix}{dot}", 8080) == Host(service, namespace, "", 8080)


@given(LABEL)
def test_a_bare_name_is_of_the_callers_namespace_and_port_80_is_meant(service):
    assert parse_host(service) == Host(service, "", "", 80)


@given(st.ip_addresses())
def test_addresses(address):
    assert parse_host(str(address), 1) == Host("", "", str(address), 1)


@pytest.mark.parametrize("name", ["", ".", "a..b", "-a", "a_b", "a.b.c", "www.example.org", "a.b.svc.other", "é"])
def test_what_is_no_name_of_a_service(name):
    with pytest.raises(UnknownHost):
        parse_host(name, 80)


@given(st.text())
def test_any_text_is_either_understood_or_refused(name):
    try:
        host = parse_host(name, 80)
    except UnknownHost:
        return
    assert bool(host.service) != bool(host.address)


@given(LABEL, LABEL)
def test_the_caller_says_its_namespace(namespace, pod):
    credentials = base64.b64encode(f"{namespace}:{pod}".encode()).decode()
    assert namespace_of_caller(f"Basic {credentials}") == namespace


@given(st.text())
def test_other_credentials_say_nothing(text):
    assert namespace_of_caller(f"Bearer {text}") == ""
    namespace_of_caller(f"Basic {text}")

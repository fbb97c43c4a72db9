"""Certificates of servers on 127.0.0.1."""

import base64
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from labkit import certificates
from labkit.certificates import ensure_certificate


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "serving-certs"


def _certificate(folder):
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())


def test_it_is_for_this_machine(folder):
    ensure_certificate(folder, "kargo-webhooks")
    names = _certificate(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert _certificate(folder).subject.rfc4514_string() == "CN=kargo-webhooks"


def test_it_is_valid_now_and_for_most_of_a_year(folder):
    ensure_certificate(folder, "kargo-webhooks")
    certificate, now = _certificate(folder), datetime.now(UTC)
    assert certificate.not_valid_before_utc < now
    assert now + timedelta(days=300) < certificate.not_valid_after_utc < now + timedelta(days=398)


def test_key_and_certificate_belong_together(folder):
    ensure_certificate(folder, "kargo-webhooks")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")


def test_a_client_that_trusts_it_can_connect(folder):
    bundle = ensure_certificate(folder, "kargo-webhooks")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ends[0].getpeercert()["subjectAltName"] == (("DNS", "localhost"), ("IP Address", "127.0.0.1"))


def test_only_its_owner_reads_the_key(folder):
    ensure_certificate(folder, "kargo-webhooks")
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_good_one_is_kept(folder):
    first = ensure_certificate(folder, "kargo-webhooks")
    key = (folder / "tls.key").read_bytes()
    assert ensure_certificate(folder, "kargo-webhooks") == first
    assert (folder / "tls.key").read_bytes() == key


def test_one_that_is_about_to_expire_is_renewed(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_LIFETIME", timedelta(days=29))
        first = ensure_certificate(folder, "kargo-webhooks")
    assert ensure_certificate(folder, "kargo-webhooks") != first
    assert _certificate(folder).not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    key = serialization.load_pem_private_key((folder / "tls.key").read_bytes(), password=None)
    assert key.public_key() == _certificate(folder).public_key()


def test_one_with_a_month_left_is_kept(folder, monkeypatch):
    monkeypatch.setattr(certificates, "_LIFETIME", timedelta(days=31))
    assert ensure_certificate(folder, "kargo-webhooks") == ensure_certificate(folder, "kargo-webhooks")


@pytest.mark.parametrize("lost", ["tls.key", "tls.crt"])
def test_half_of_a_pair_is_made_new(folder, lost):
    first = ensure_certificate(folder, "kargo-webhooks")
    (folder / lost).unlink()
    assert ensure_certificate(folder, "kargo-webhooks") != first


def test_what_an_interruption_left_is_made_new(folder):
    ensure_certificate(folder, "kargo-webhooks")
    (folder / "tls.crt").write_bytes(b"")
    ensure_certificate(folder, "kargo-webhooks")
    assert _certificate(folder).subject.rfc4514_string() == "CN=kargo-webhooks"


def test_the_bundle_is_the_certificate(folder):
    bundle = ensure_certificate(folder, "kargo-webhooks")
    assert base64.b64decode(bundle) == (folder / "tls.crt").read_bytes()

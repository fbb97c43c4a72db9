"""A certificate authority for one server on 127.0.0.1, as Kubernetes' webhooks need it."""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from labkit.process import LOOPBACK

_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)


def ensure_certificate(folder: Path, name: str) -> str:
    """A key (`tls.key`) and a self-signed certificate (`tls.crt`) for 127.0.0.1 and localhost.

    Args:
        folder: Where they are kept.
        name: Common name of the certificate.

    Returns:
        The certificate as base64 of its PEM text, as `caBundle` wants it.
    """
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    if not _usable(certificate_file) or not key_file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate_file.write_bytes(_self_signed(key, name).public_bytes(serialization.Encoding.PEM))
    return base64.b64encode(certificate_file.read_bytes()).decode()


def _usable(file: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return certificate.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )

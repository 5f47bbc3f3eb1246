# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities and leaves for tests (ECDSA P-256), as PEM files."""
import base64
import datetime
import hashlib
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TUNNEL_NAMES = ("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com")


def _name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                       serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


class Authority:
    """A CA in `folder`: ca.pem, and leaves NAME.pem (chain) with NAME.key."""

    def __init__(self, folder, common="adit test CA"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(common, self.key, None, (), 3650, True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.pem)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pin(self):
        """sha256/BASE64 of the CA's SubjectPublicKeyInfo, as in [edge] pin."""
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return "sha256/" + base64.b64encode(hashlib.sha256(spki).digest()).decode()

    def _sign(self, common, key, issuer, names, days, is_ca):
        now = datetime.datetime.now(datetime.timezone.utc)
        issuer_name = self.certificate.subject if issuer else _name(common)
        builder = (x509.CertificateBuilder()
                   .subject_name(_name(common)).issuer_name(issuer_name)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=2))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                                  critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                       self.key.public_key()), critical=False)
                   .add_extension(x509.KeyUsage(not is_ca, False, False, False, False, is_ca,
                                                is_ca, False, False), critical=True))
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def leaf(self, file, names=TUNNEL_NAMES, days=90, append=()):
        """Makes file.pem (leaf, this CA, then the PEM blocks of `append`) and file.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(names[0], key, self.certificate, names, days, False)
        chain = self.folder / f"{file}.pem"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + self.pem
                          + b"".join(append))
        _write_key(self.folder / f"{file}.key", key)
        return chain, self.folder / f"{file}.key"

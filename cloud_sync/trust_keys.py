"""The keys that bundles are signed with: made, kept in files, read again.

A key is an Ed25519 pair in two PEM files: `NAME.pem` is the secret half, encrypted where a
passphrase is given, `NAME.pub` the public one. Secret keys of root and targets belong on machines
that are no hub. Called by the `hub keys`, `hub repository` and `hub bundle` commands.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey


class TrustError(Exception):
    """Keys or metadata cannot be used; the text says why and what to do, in one line."""


def make_key(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Make a key pair: path with the secret half, readable by its owner only, and its `.pub`.

    Raises TrustError where there is one already, or where it cannot be written.
    """
    secret = Ed25519PrivateKey.generate()
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    pem = serialization.Encoding.PEM
    private = secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, protection)
    public = secret.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(private)
        path.with_suffix(".pub").write_bytes(public)
    except FileExistsError as error:
        if not path.parent.is_dir():
            raise TrustError(f"{path.parent}: is no folder") from error
        raise TrustError(f"{path}: is there already; a key is never written over") from error
    except OSError as error:
        raise TrustError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return CryptoSigner(secret)


def load_signer(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Read a secret key. Raises TrustError where it is none, or the passphrase is wrong."""
    content = _read(path)
    try:
        secret = serialization.load_pem_private_key(content, passphrase)
    except TypeError as error:
        wanted = "needs a passphrase: add --passphrase-file" if passphrase is None else "needs none"
        raise TrustError(f"{path}: {wanted}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        why = (
            "not a secret key (PEM)"
            if passphrase is None
            else "not a secret key, or not its passphrase"
        )
        raise TrustError(f"{path}: {why}") from error
    if not isinstance(secret, Ed25519PrivateKey):
        raise TrustError(f"{path}: not an Ed25519 key")
    return CryptoSigner(secret)


def load_public(path: Path) -> SSlibKey:
    """Read a public key. Raises TrustError where it is none."""
    content = _read(path)
    try:
        public = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a public key (PEM)") from error
    if not isinstance(public, Ed25519PublicKey):
        raise TrustError(f"{path}: not an Ed25519 key")
    return SSlibKey.from_crypto(public)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: {(error.strerror or str(error)).lower()}") from error

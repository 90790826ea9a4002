"""Verifies who signed a message of evidence (contract: schemas/evidence.md)."""

import base64
import hashlib
import struct
import tomllib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HEADER = "probity-signature"
KEY_BYTES, SIGNATURE_BYTES = 4, 64
ED25519 = 1


class Scorers:
    """The public keys that may sign evidence, each as `name+hash+key`."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = [parse(key) for key in keys]

    @staticmethod
    def of_trust(path: Path) -> "Scorers":
        return Scorers(tomllib.loads(path.read_text())["scorer"])

    def have_signed(self, partition: int, head: bytes, headers: list[tuple[str, bytes]]) -> bool:
        found = [value for name, value in headers if name == HEADER]
        if len(found) != 1 or found[0] is None or len(found[0]) != KEY_BYTES + SIGNATURE_BYTES:
            return False
        key_hash, signature = found[0][:KEY_BYTES], found[0][KEY_BYTES:]
        statement = b"probity evidence 1\n" + struct.pack(">I", partition) + head
        return any(known == key_hash and has_signed(key, signature, statement) for known, key in self.keys)


def parse(text: str) -> tuple[bytes, Ed25519PublicKey]:
    name, written, encoded = text.split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    computed = hashlib.sha256(name.encode() + b"\n" + key).digest()[:KEY_BYTES]
    if key[0] != ED25519 or computed.hex() != written:
        raise ValueError(f"{text} is no Ed25519 key")
    return computed, Ed25519PublicKey.from_public_bytes(key[1:])


def has_signed(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True

"""Bytes between this process and runners that it started, and nobody else's."""

import hashlib
import pickle
from typing import Any


def encode(value: object) -> bytes:
    """What is given to the other side."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def checksum(encoded: bytes) -> str:
    """First 16 hex digits of its SHA-256."""
    return hashlib.sha256(encoded).hexdigest()[:16]


def decode_checked(encoded: bytes, expected: str) -> Any:
    """What the other side gave, unless that was damaged on the way (ValueError)."""
    if checksum(encoded) != expected:
        raise ValueError("what arrived is not what was sent: its checksum differs")
    return decode(encoded)


def decode(encoded: bytes) -> Any:
    """What the other side gave."""
    return pickle.loads(encoded)

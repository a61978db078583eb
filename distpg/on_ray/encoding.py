"""Bytes between this process and runners that it started, and nobody else's."""

import pickle
from typing import Any


def encode(value: object) -> bytes:
    """What is given to the other side."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def decode(encoded: bytes) -> Any:
    """What the other side gave."""
    return pickle.loads(encoded)

"""Weights and questions as calls take them: encoded once; large ones stored once, for each node to fetch."""

from collections.abc import Collection
from typing import Any

import ray

from distpg.on_ray.encoding import checksum, encode

# An argument of a call below this size travels in the call itself, in half the time of a trip through the
# object store.
_INLINE_BYTES = 64 * 1024


class Shared:
    """Sets of weights by the number of updates that made them, or questions by their number."""

    def __init__(self) -> None:
        self._sets: dict[int, tuple[int, str, Any]] = {}
        self._count = 0

    def add(self, seq_no: int, value: object) -> None:
        """Take on a set, unless it is there."""
        if seq_no not in self._sets:
            encoded = encode(value)
            self._count += 1
            payload = [ray.put(encoded)] if len(encoded) > _INLINE_BYTES else encoded
            self._sets[seq_no] = self._count, checksum(encoded), payload

    def __getitem__(self, seq_no: int) -> tuple[int, str, Any]:
        """Arguments of a call: a number that no other set of this process has, its checksum, and the set."""
        return self._sets[seq_no]

    def keep(self, needed: Collection[int]) -> None:
        """Forget all others."""
        self._sets = {seq_no: one for seq_no, one in self._sets.items() if seq_no in needed}

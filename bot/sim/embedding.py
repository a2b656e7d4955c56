"""Vectors of a simulated embedding model: the same text always gives the same unit vector."""

import hashlib
import math

_DIMENSIONS = 64


def embed(text: str) -> list[float]:
    """Return the vector of a text."""
    seed = hashlib.shake_256(text.encode()).digest(_DIMENSIONS)
    raw = [byte - 127.5 for byte in seed]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]

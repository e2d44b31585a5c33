"""Seeded damage to valid files, for tests of whatever reads them."""

from __future__ import annotations

import random

TOKENS = [bytes(8), b"\xff" * 4, b"9" * 21, b"1e999", b"nan", b"-1", b"(", b"'|O'", b"IDAT", b"\n", b","]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to six places changed, cut off, doubled or filled with what readers stumble over."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
            case _:
                data[at:at] = data[at : at + rng.randint(1, 64)]
    return bytes(data)

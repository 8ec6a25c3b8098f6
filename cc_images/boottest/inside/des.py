"""DES for one block (FIPS 46-3), which hides the passwords of VNC servers. Pure; not for secrets of ours."""

from __future__ import annotations

PC1 = (
    *(57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36),
    *(63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4),
)
PC2 = (
    *(14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2),
    *(41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32),
)
SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
INITIAL = tuple(first - 8 * step for first in (58, 60, 62, 64, 57, 59, 61, 63) for step in range(8))
FINAL = tuple(INITIAL.index(place) + 1 for place in range(1, 65))
SPREAD = tuple((4 * group + step - 1) % 32 + 1 for group in range(8) for step in range(6))
MIX = (16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
       2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25)  # fmt: skip
BOXES = tuple(
    tuple(int(digit, 16) for digit in row)
    for row in (
        "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
        "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
        "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
        "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
        "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
        "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
        "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
        "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
    )
)
"""The eight substitutions: four rows of sixteen each."""


def decrypted(block: bytes, key: bytes) -> bytes:
    """Return the eight bytes that DES has hidden with a key of eight."""
    left, right = _halves(_picked(_bits(block), INITIAL))
    for each in reversed(_keys(key)):
        left, right = right, [a ^ b for a, b in zip(left, _round(right, each), strict=True)]
    found = _picked([*right, *left], FINAL)
    return bytes(int("".join(map(str, found[at : at + 8])), 2) for at in range(0, 64, 8))


def _keys(key: bytes) -> list[list[int]]:
    """Return the keys of the sixteen rounds."""
    left, right = _halves(_picked(_bits(key), PC1))
    found = []
    for shift in SHIFTS:
        left, right = left[shift:] + left[:shift], right[shift:] + right[:shift]
        found.append(_picked([*left, *right], PC2))
    return found


def _round(half: list[int], key: list[int]) -> list[int]:
    mixed = [a ^ b for a, b in zip(_picked(half, SPREAD), key, strict=True)]
    found: list[int] = []
    for number, box in enumerate(BOXES):
        a, b, c, d, e, f = mixed[6 * number : 6 * number + 6]
        found += [int(bit) for bit in f"{box[(2 * a + f) * 16 + 8 * b + 4 * c + 2 * d + e]:04b}"]
    return _picked(found, MIX)


def _bits(block: bytes) -> list[int]:
    return [int(bit) for each in block for bit in f"{each:08b}"]


def _picked(bits: list[int], places: tuple[int, ...]) -> list[int]:
    return [bits[place - 1] for place in places]


def _halves(bits: list[int]) -> tuple[list[int], list[int]]:
    return bits[: len(bits) // 2], bits[len(bits) // 2 :]

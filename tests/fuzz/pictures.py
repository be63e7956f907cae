"""Mutators of picture files: each takes a file and a source of chance and returns another file."""

from __future__ import annotations

import random
from collections.abc import Callable

from fuzz import corpus
from fuzz.containers import checked, layout

Mutator = Callable[[bytes, random.Random], bytes]
RUNS = (b"\0", b"\xff", b"\xdf", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"%s%n", b"../", b"\r\n")
NAMES = (
    b"ir\xdft",
    b"irot",
    b"imir",
    b"Exif",
    b"EXIF",
    b"XMP ",
    b"ICCP",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"IDAT",
    b"IEND",
)
NAMES += (
    b"ANMF",
    b"ALPH",
    b"mdat",
    b"uuid",
    b"ispe",
    b"colr",
    b"fr\xc3\xa9",
    b"i\xdfCP",
    b"zTXt",
    b"eXIf",
    b"tRNS",
    b"acTL",
)
LARGEST = 200_000
"""Bytes of a mutated file, but for bombs."""
TAILS = (70_000, 1_200_000, 1_900_000, 2_100_000, 3_000_000)
"""Bytes behind a good picture: some bodies stay in memory, some go to the disk, some are over the limit."""


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """Flip some bits, more often at the beginning."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(made) if chance.random() < 0.5 else min(200, len(made)))
        made[at] ^= 1 << chance.randrange(8)
    return bytes(made)


def overwrite(data: bytes, chance: random.Random) -> bytes:
    """Write a run of bytes over others."""
    at, size = chance.randrange(len(data)), chance.choice((1, 2, 4, 9, 64))
    run = (chance.choice(RUNS) * size)[:size] if chance.random() < 0.8 else chance.randbytes(size)
    return data[:at] + run + data[at + size :]


def truncate(data: bytes, chance: random.Random) -> bytes:
    """Cut the file somewhere."""
    return data[: chance.randrange(len(data))]


def insert(data: bytes, chance: random.Random) -> bytes:
    """Put bytes between others."""
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 2, 3, 30))) + data[at:]


def remove(data: bytes, chance: random.Random) -> bytes:
    """Take a run of bytes out."""
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 2, 4, 30)) :]


def edit_numbers(data: bytes, chance: random.Random) -> bytes:
    """Change lengths, sizes, counts, offsets or dimensions."""
    numbers = layout(data).numbers
    if not numbers:
        return flip_bits(data, chance)
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at, wide, order = chance.choice(numbers)
        top = 256**wide
        value = int.from_bytes(data[at : at + wide], order)
        others = (
            0,
            1,
            value + 1,
            value - 1,
            value * 2,
            top - 1,
            top // 2,
            top // 2 - 1,
            chance.randrange(top),
            6,
            65_535,
        )
        made[at : at + wide] = (chance.choice(others) % top).to_bytes(wide, order)
    return bytes(made)


def edit_names(data: bytes, chance: random.Random) -> bytes:
    """Give chunks and boxes other names, also some that are no text."""
    names = layout(data).names
    if not names:
        return overwrite(data, chance)
    at = chance.choice(names)
    if chance.random() < 0.5:
        place = at + chance.randrange(4)
        return (
            data[:place]
            + bytes((chance.choice((0xDF, 0xFF, 0x80, 0, 0x20, chance.randrange(256))),))
            + data[place + 1 :]
        )
    return data[:at] + chance.choice(NAMES) + data[at + 4 :]


def move_pieces(data: bytes, chance: random.Random) -> bytes:
    """Take a chunk, segment, box or entry out, double it, empty it, or put it elsewhere."""
    pieces = layout(data).pieces
    if not pieces:
        return remove(data, chance)
    start, end = chance.choice(pieces)
    piece, without = data[start:end], data[:start] + data[end:]
    way = chance.randrange(5)
    if way == 0:
        return without
    if way == 1:
        return data[:end] + piece * chance.choice((1, 2, 40)) + data[end:]
    if way == 2:
        return data[:start] + bytes(len(piece)) + data[end:]
    at = chance.choice(pieces)[chance.randrange(2)]
    return (without[:at] + piece + without[at:]) if way == 3 else (data[:at] + piece + data[at:])


def splice(data: bytes, chance: random.Random) -> bytes:
    """Put a piece of another file in, or go on with another file."""
    other = corpus.file(chance.choice(corpus.NAMES))
    pieces, others = layout(data).pieces, layout(other).pieces
    if pieces and others and chance.random() < 0.7:
        at, (start, end) = chance.choice(pieces)[0], chance.choice(others)
        return data[:at] + other[start:end] + data[at:]
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    overwrite,
    truncate,
    insert,
    remove,
    edit_numbers,
    edit_numbers,
    edit_numbers,
    edit_names,
    edit_names,
    move_pieces,
    move_pieces,
    splice,
)


def mutated(chance: random.Random) -> bytes:
    """Return a picture file that was changed in one to three ways."""
    data = corpus.file(chance.choice(corpus.NAMES))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(MUTATORS)(data or b"\0", chance)[:LARGEST]
    return checked(data) if chance.random() < 0.8 else data


def good(chance: random.Random) -> bytes:
    """Return a file of the corpus as it is."""
    return corpus.file(chance.choice(corpus.NAMES))


def picture(chance: random.Random) -> bytes:
    """Return a good, extreme, mutated or malicious picture file."""
    lot = chance.random()
    if lot < 0.72:
        return mutated(chance)
    if lot < 0.90:
        return good(chance)
    if lot < 0.98:
        return corpus.shaped(chance) if lot < 0.95 else corpus.bomb(chance)
    return good(chance) + bytes(chance.choice(TAILS))

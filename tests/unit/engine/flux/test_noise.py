"""The noise of a place is the same whichever window shows it, and it is standard normal."""

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.engine.flux import noise

PLACES = st.integers(-(2**31), 2**31 - 64)
SIDES = st.integers(1, 9)
DIGEST = "757bf74b0ba72bd3ba701e60b00af0bcc5113dfb087dd8d3717f819f3f7ea3d2"


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, answer):
    """Philox4x32-10 gives the words that its authors published with Random123."""
    words = noise.philox(tuple(np.array([word], np.uint32) for word in counter), key)
    assert tuple(int(word[0]) for word in words) == answer


@given(st.integers(0, 2**64 - 1), st.tuples(PLACES, PLACES), st.tuples(SIDES, SIDES), st.integers(1, 13), st.data())
def test_a_window_of_a_window_is_that_window(seed, place, shape, channels, data):
    """Any crop, of any part of the plane and of the channels, has the bits of the field it is cut from."""
    (top, left), (rows, columns) = place, shape
    whole = noise.noise_field(seed, top, left, rows, columns, channels)
    down, across = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    size = (data.draw(st.integers(1, rows - down)), data.draw(st.integers(1, columns - across)))
    some = data.draw(st.integers(1, channels))
    part = noise.noise_field(seed, top + down, left + across, *size, some)
    assert part.dtype == np.float32
    assert np.array_equal(part, whole[:some, down : down + size[0], across : across + size[1]])


def test_the_bits_are_those_of_every_machine():
    """A digest of the field at the plane's origin, negative coordinates included, never changes."""
    window = noise.noise_field(2**63 + 5, -8, -8, 16, 16, 128)
    assert hashlib.sha256(window.astype("<f4").tobytes()).hexdigest() == DIGEST


def test_standard_normal():
    """Mean, deviation, skewness, kurtosis and the share of tails are a normal distribution's."""
    values = noise.noise_field(1, -64, 1000, 128, 128, 64).astype(np.float64).ravel()
    assert abs(values.mean()) < 0.004
    assert abs(values.std() - 1) < 0.003
    assert abs((values**3).mean()) < 0.01
    assert abs((values**4).mean() - 3) < 0.03
    assert abs((np.abs(values) > 3).mean() - 0.0027) < 0.0003
    assert np.isfinite(values).all()


def test_neighbours_are_strangers():
    """Next cells, next channels, other seeds and other streams have nothing in common."""
    one = noise.noise_field(3, 0, 0, 65, 65, 16)
    pairs = [
        (one[:, :, 1:], one[:, :, :-1]),
        (one[:, 1:], one[:, :-1]),
        (one[1:], one[:-1]),
        (one, np.swapaxes(one, 1, 2) * (1 - np.eye(65, dtype=np.float32))),
        (one, noise.noise_field(4, 0, 0, 65, 65, 16)),
        (one, noise.noise_field(3 + 2**32, 0, 0, 65, 65, 16)),
        (one, noise.noise_field(3, 0, 0, 65, 65, 16, stream=1)),
    ]
    assert all(abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.02 for left, right in pairs)


def test_the_series_are_the_functions():
    """Our own logarithm and circle agree with the library's to far below a float32's last bit."""
    words = np.random.default_rng(1).integers(0, 2**32, (2, 50000), dtype=np.uint32)
    words[:, :4] = [[0, 2**32 - 1, 2**31, 2**31 - 1], [0, 2**31 - 1, 2**31, 2**32 - 1]]
    radius = np.sqrt(-2 * np.log((words[0] + 0.5) / 2**32)) * np.where(words[1] >> 31, -1, 1)
    angle = np.pi * (((words[1] & 0x7FFFFFFF) + 0.5) / 2**31 - 0.5)
    cosine, sine = noise._to_normal(words[0], words[1])
    assert np.abs(cosine - radius * np.cos(angle)).max() < 1e-12
    assert np.abs(sine - radius * np.sin(angle)).max() < 1e-12


@pytest.mark.parametrize(("seed", "stream"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_out_of_range(seed, stream):
    """A seed or a stream that does not fit its words is an error, not another one's noise."""
    with pytest.raises(ValueError, match="out of range"):
        noise.noise_field(seed, 0, 0, 1, 1, 1, stream=stream)


def test_fast_enough():
    """A tile of 64 × 64 cells of 128 channels takes less than 0.1 s of the processor at its best of several."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        noise.noise_field(1, 0, 0, 64, 64, 128)
        times.append(time.process_time() - begun)
    assert min(times) < 0.1

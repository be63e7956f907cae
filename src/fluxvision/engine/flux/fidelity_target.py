"""Derives the LR-PSNR to which FLUX holds a picture from creativity and from the measured damage of its source.

A result may differ from its source, reduced again, for two reasons: it has new detail, and the source is damaged. What
restoration leaves of noise, compression and blur is no truth that a result should agree with. Importable without torch.
"""

from __future__ import annotations

from math import hypot, log10

from fluxvision.core.images import SourceDamage
from fluxvision.engine.flux.options import LOCK_LEVELS

HIGHEST = 45.0
"""LR-PSNR in dB at creativity 0, of a clean source."""
FALL, RISE = 42.0, 17.0
"""Decibels that creativity takes away, and that its square gives back: 34 are left at 0.3, 20 at 1."""
LOOSE = 10.0
"""Below this LR-PSNR in dB colours are not locked in full either."""
COARSER = (4.0, 12.0)
"""Levels of damage from which on colours are locked one level coarser, and another one."""
PEAK = 255.0

NOISE = 1.5
"""Deviation in levels that is allowed for each of measured noise: an estimate says too little rather than too much."""
COMPRESSION, COMPRESSION_POWER = 16.0, 0.35
"""The same for a JPEG: 16 times its tables' scale (1 at quality 50), to the power of 0.35."""
BLUR, SHARP, MOST_BLUR = 85.0, 0.15, 45.0
"""The same for a blur: for each pixel of it above that of sharp pictures, and at most."""
# What restoration leaves of noise, JPEG and blur in tiles of 32 × 32 pixels is within these, measured on photographs;
# see docs/decisions/0019-how-near-flux-is-held.md.


def fidelity_target(creativity: float, damage: SourceDamage) -> float:
    """Return the least LR-PSNR in dB between a result, reduced again, and what restoration left of its source.

    It falls with creativity (0 to 1) and with every kind of damage.
    """
    free = HIGHEST - FALL * creativity + RISE * creativity**2
    deviation = _damage_deviation(damage)
    return round(min(free, 20 * log10(PEAK / deviation)) if deviation else free, 2)


def color_lock(fidelity: float) -> float:
    """Return the share of a difference in colour that is corrected, 0 to 1, where `fidelity` dB are held."""
    return min(1.0, fidelity / LOOSE)


def lock_levels(damage: SourceDamage) -> int:
    """Return the à-trous levels of the colour lock: the more damage, the coarser is what a source can be trusted in."""
    deviation = _damage_deviation(damage)
    return LOCK_LEVELS + sum(deviation >= least for least in COARSER)


def _damage_deviation(damage: SourceDamage) -> float:
    """Return by how many levels of 0..255 a damaged source may differ from the true picture, after restoration."""
    blur = min(MOST_BLUR, BLUR * max(0.0, damage.blur - SHARP))
    return hypot(NOISE * damage.noise, _compression_deviation(damage.jpeg_quality), blur)


def _compression_deviation(quality: int | None) -> float:
    if quality is None:
        return 0.0
    scale = 50 / max(1, quality) if quality < 50 else 2 - quality / 50  # noqa: PLR2004, as libjpeg scales its tables
    return float(COMPRESSION * max(0.0, scale) ** COMPRESSION_POWER)

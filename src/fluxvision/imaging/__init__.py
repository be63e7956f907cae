"""Pictures in and out: bytes to upright pixels and back, with everything a picture says of itself."""

from fluxvision.imaging.decode import Pixels, check_mask, decode, decode_mask
from fluxvision.imaging.encode import check, encode
from fluxvision.imaging.formats import FORMATS, Format, Limits, find, sniff
from fluxvision.imaging.memory import decoding, encoding, reading_back, samples
from fluxvision.imaging.probe import probe, quick
from fluxvision.imaging.raster import open_raster, raster
from fluxvision.imaging.transform import describe, fitted, inner_size, preview

__all__ = [
    "FORMATS",
    "Format",
    "Limits",
    "Pixels",
    "check",
    "check_mask",
    "decode",
    "decode_mask",
    "decoding",
    "describe",
    "encode",
    "encoding",
    "find",
    "fitted",
    "inner_size",
    "open_raster",
    "preview",
    "probe",
    "quick",
    "raster",
    "reading_back",
    "samples",
    "sniff",
]

"""Pictures in and out: bytes to upright pixels and back, with everything a picture says of itself."""

from fluxvision.imaging.decode import Pixels, decode, decode_mask
from fluxvision.imaging.encode import check, encode, open_raster
from fluxvision.imaging.fitting import fitted
from fluxvision.imaging.formats import FORMATS, Format, find, sniff
from fluxvision.imaging.limits import Limits
from fluxvision.imaging.preview import describe, preview
from fluxvision.imaging.probe import probe

__all__ = [
    "FORMATS",
    "Format",
    "Limits",
    "Pixels",
    "check",
    "decode",
    "decode_mask",
    "describe",
    "encode",
    "find",
    "fitted",
    "open_raster",
    "preview",
    "probe",
    "sniff",
]

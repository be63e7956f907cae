"""Decodes picture files to upright pixels with metadata, and encodes them again."""

from fluxvision.core.formats import FORMATS, Format, Limits, find_format, sniff_format
from fluxvision.imaging.decode import DecodedImage, check_mask, decode, decode_mask
from fluxvision.imaging.encode import check_encodable, encode
from fluxvision.imaging.memory_estimate import decoded_bytes, decoding_bytes, encoding_bytes, readback_bytes
from fluxvision.imaging.probe import is_quick_to_read, probe
from fluxvision.imaging.raster import open_raster, write_raster
from fluxvision.imaging.transform import fit_raster, inner_size, read_metadata, write_preview

__all__ = [
    "FORMATS",
    "DecodedImage",
    "Format",
    "Limits",
    "check_encodable",
    "check_mask",
    "decode",
    "decode_mask",
    "decoded_bytes",
    "decoding_bytes",
    "encode",
    "encoding_bytes",
    "find_format",
    "fit_raster",
    "inner_size",
    "is_quick_to_read",
    "open_raster",
    "probe",
    "read_metadata",
    "readback_bytes",
    "sniff_format",
    "write_preview",
    "write_raster",
]

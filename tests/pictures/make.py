"""Makes the HEIC files of this folder, for which the tests have no encoder: python tests/pictures/make.py.

Needs pillow-heif, whose encoder x265 is under the GPL and therefore not among the development packages, and for
`tiles.heic` the program heif-enc. Every file shows the same gradient of 36x24 pixels (`tiles.heic`: of 200x120).
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

FOLDER = Path(__file__).parent
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def gradient(height: int = 24, width: int = 36) -> np.ndarray:
    """Return smooth colours."""
    down, across = np.mgrid[0:height, 0:width]
    planes = across * 7 * 36 // width, down * 10 * 24 // height, (across + down) % 256
    return np.stack(planes, axis=2).astype(np.uint8)


def save(name: str, image: Image.Image, **options: object) -> None:
    """Write a file."""
    buffer = io.BytesIO()
    image.save(buffer, "HEIF", quality=90, chroma=444, **options)
    (FOLDER / f"{name}.heic").write_bytes(buffer.getvalue())


def exif(orientation: int) -> bytes:
    """Return EXIF data with an orientation and a text."""
    found = Image.Exif()
    found[0x0112], found[0x010E] = orientation, "a meadow"
    return found.tobytes()


def main() -> None:
    """Write all files."""
    pillow_heif.register_heif_opener()
    pixels = gradient()
    image = Image.fromarray(pixels)
    save("plain", image)
    save("grey", image.convert("L"))
    save("alpha", Image.fromarray(np.dstack([pixels, np.full((24, 36), 128, np.uint8)])))
    for orientation in range(2, 9):
        turned = image.copy()
        turned.info["exif"] = exif(orientation)
        save(f"turned-{orientation}", turned)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("described", image, exif=exif(1), icc_profile=icc, xmp=XMP)
    save("burst", image, save_all=True, append_images=[image.rotate(180)])
    deep = pillow_heif.from_bytes("RGB;16", (36, 24), np.full((24, 36, 3), 65535, np.uint16).tobytes())
    deep.save(FOLDER / "white-10.heic", quality=-1, chroma=444)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tiles.png")
        Image.fromarray(gradient(120, 200)).save(source)
        order = ["heif-enc", "-q", "90", "--cut-tiles", "64", "-o", str(FOLDER / "tiles.heic"), str(source)]
        subprocess.run(order, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()

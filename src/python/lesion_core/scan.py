"""One pass over every image file: can it be decoded, what is its content, what does it look like?

Memory does not grow with pixels: of each image 64 characters of a digest and 32 bytes of a perceptual hash are kept.
"""

# N images · W=4 words of 64 bits

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.errors import ImageError
from lesion_core.imaging import DEFAULT_LIMITS, DecodeLimits, decode_image, read_image_file
from lesion_core.records import ImageRecord, data_digest

HASH_SIDE = 16  # 16 x 16 bits
HASH_BITS = HASH_SIDE * HASH_SIDE
HASH_FIELD = 0.5  # central share of each side that the hash looks at
DECODED_SIDE_PX = 32  # a large JPEG is decoded at a reduced size of at least twice this


@attrs.frozen(kw_only=True, eq=False)
class ImageScan:
    """What is known of the images that could be read.

    Attributes:
        records: those of the readable images, in the order in which they were given.
        contents: sha256 of each file, in hexadecimal.
        hashes: perceptual hash of each image: uint64 ``(N, 4)``.
        problems: one line for each unreadable image, with the file and row that list it.
    """

    records: tuple[ImageRecord, ...]
    contents: tuple[str, ...]
    hashes: NDArray[np.uint64]
    problems: tuple[str, ...]

    @property
    def digest(self) -> str:
        """``data_digest`` of the readable images, without reading them again."""
        return data_digest(self.records, self.contents)


def scan_images(
    records: Sequence[ImageRecord],
    *,
    threads: int,
    limits: DecodeLimits = DEFAULT_LIMITS,
    on_images: Callable[[int], object] | None = None,
) -> ImageScan:
    """Read every image once: digest of the file, a full check that it decodes, perceptual hash.

    A large JPEG is decoded at a reduced size; its whole stream is read all the same, so a file that broke off is found.

    Args:
        records: any number of images.
        threads: images that are worked on at a time; decoding leaves Python's lock, so threads use several cores.
        limits: what is refused.
        on_images: called with how many more are done.
    """

    def scan(record: ImageRecord) -> tuple[str, NDArray[np.uint64]] | str:
        try:
            data = read_image_file(record.path, limits=limits)
            pixels = decode_image(data, limits=limits, shortest_side_px=DECODED_SIDE_PX)
        except (ImageError, OSError) as error:
            at = f"{record.listed_at}: " if record.listed_at not in ("", str(record.path)) else ""
            return f"{at}{record.path}: {error}"
        return hashlib.sha256(data).hexdigest(), perceptual_hash(pixels)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        results = []
        for result in pool.map(scan, records):
            results.append(result)
            if on_images is not None:
                on_images(1)
    problems = tuple(result for result in results if isinstance(result, str))
    readable = [(record, found) for record, found in zip(records, results, strict=True) if not isinstance(found, str)]
    return ImageScan(
        records=tuple(record for record, _ in readable),
        contents=tuple(content for _, (content, _) in readable),
        hashes=np.array([bits for _, (_, bits) in readable], dtype=np.uint64).reshape(-1, HASH_BITS // 64),
        problems=problems,
    )


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """256 bits that change little when an image is scaled, recompressed or recoloured: uint64 ``(4,)``.

    The DCT hash ``imagehash.phash`` of the image's centre, half of each side. Where the field of a dermatoscope is a
    bright disc on black, a hash of the whole image sees little but the disc: on 20,854 images of ISIC 2019, the usual
    64 bits of the whole image call 107 + 12 pairs of different lesions alike at a distance of 0 or 2, nearly all of
    them wrongly; see ``lesion_core.audit.MAX_HASH_DISTANCE`` for these 256 bits of the centre.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB.
    """
    height, width = pixels.shape[:2]
    top, left = round(height * (1 - HASH_FIELD) / 2), round(width * (1 - HASH_FIELD) / 2)
    centre = Image.fromarray(np.ascontiguousarray(pixels[top : height - top, left : width - left]))
    bits = imagehash.phash(centre, hash_size=HASH_SIDE).hash
    return np.packbits(bits).view(np.uint64)

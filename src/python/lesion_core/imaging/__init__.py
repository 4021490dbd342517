"""Images as bytes: safe decoding (``decode``, ``dicom``) and de-identification (``deidentify``)."""

from lesion_core.imaging.decode import (
    ALLOWED_FORMATS,
    DEFAULT_LIMITS,
    FILE_SUFFIXES,
    MEDIA_TYPES,
    DecodeLimits,
    decode_image,
    image_format,
    read_image_file,
)

__all__ = [
    "ALLOWED_FORMATS",
    "DEFAULT_LIMITS",
    "FILE_SUFFIXES",
    "MEDIA_TYPES",
    "DecodeLimits",
    "decode_image",
    "image_format",
    "read_image_file",
]

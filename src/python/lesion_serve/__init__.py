"""Serving of Lesion: from a bundle to answers over HTTP."""

__version__ = "0.1.0"

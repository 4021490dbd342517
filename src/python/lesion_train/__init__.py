"""Training of Lesion: from a table of images to a registered bundle."""

__version__ = "0.1.0"

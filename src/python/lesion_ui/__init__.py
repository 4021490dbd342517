"""The app of Lesion: one image in, an honest answer out."""

__version__ = "0.1.0"

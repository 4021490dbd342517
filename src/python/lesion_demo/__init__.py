"""The whole main job of Lesion with one command."""

__version__ = "0.1.0"

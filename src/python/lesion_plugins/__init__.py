"""Backbones of Lesion: hook specification, registry, built-ins and the classifier network."""

__version__ = "0.1.0"

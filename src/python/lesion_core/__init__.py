"""Values and rules of Lesion: no torch, no web, no MLflow."""

__version__ = "0.1.0"

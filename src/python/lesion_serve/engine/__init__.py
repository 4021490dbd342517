"""Engines: what runs predictors behind an address."""

"""What a bundle keeps of its validation part."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from lesion_core.drift_reference import (
    DriftReference,
    Projection,
    fit_projection,
    read_projection,
    sample_by_lesion,
)
from lesion_core.errors import BundleError
from support.samples import FEATURES, draw_sample


def make_reference() -> DriftReference:
    embeddings = np.random.default_rng(0).normal(size=(50, 20))
    return DriftReference(projection=fit_projection(embeddings, features=FEATURES), sample=draw_sample(12, seed=1))


def test_a_reference_is_read_as_it_was_written() -> None:
    """All tensors, to the last bit."""
    made = make_reference()

    read = DriftReference.from_bytes(made.to_bytes())

    for name in ("embeddings", "probabilities", "strangeness"):
        np.testing.assert_array_equal(getattr(made.sample, name), getattr(read.sample, name))
    assert made.sample.quality.keys() == read.sample.quality.keys()
    for name, values in made.sample.quality.items():
        np.testing.assert_array_equal(values, read.sample.quality[name])
    np.testing.assert_array_equal(made.projection.directions, read_projection(made.to_bytes()).directions)


def test_a_measure_that_an_image_is_too_small_for_stays_unknown() -> None:
    """NaN goes to the file and comes back."""
    made = make_reference()
    made.sample.quality["focus"][3] = np.nan

    assert np.isnan(DriftReference.from_bytes(made.to_bytes()).sample.quality["focus"][3])


@pytest.mark.parametrize("name", ["embeddings", "strangeness", "projection.directions"])
def test_a_file_that_does_not_fit_together_is_refused(name: str) -> None:
    """A tensor that is gone, and one that is too short."""
    tensors = safetensors.numpy.load(make_reference().to_bytes())
    short = {**tensors, name: np.ascontiguousarray(tensors[name][:-1])}
    gone = {key: value for key, value in tensors.items() if key != name}

    for broken in (short, gone):
        with pytest.raises(BundleError, match=r"drift\.safetensors"):
            DriftReference.from_bytes(safetensors.numpy.save(broken))


def test_bytes_that_are_no_tensors_are_refused() -> None:
    """With the name of the file."""
    with pytest.raises(BundleError, match=r"drift\.safetensors cannot be read"):
        DriftReference.from_bytes(b"not tensors")


def test_a_projection_keeps_what_differs_most() -> None:
    """Directions are orthonormal, and the first one is where images lie furthest apart."""
    random = np.random.default_rng(0)
    embeddings = 10 + random.normal(size=(400, 12)) * np.array([3.0, *[0.1] * 11])

    projection: Projection = fit_projection(embeddings, features=4)

    np.testing.assert_allclose(projection.directions.T @ projection.directions, np.eye(4), atol=1e-5)
    spread = projection(embeddings).std(axis=0)
    assert spread[0] > 5 * spread[1]
    assert np.abs(projection.directions[0, 0]) > 0.8


def test_a_sample_has_one_image_of_each_lesion() -> None:
    """At most so many, the same every time."""
    lesions = np.array(["a", "a", "b", "c", "c", "c", "d"])

    rows = sample_by_lesion(lesions)

    assert sorted(lesions[rows]) == ["a", "b", "c", "d"]
    assert len(sample_by_lesion(lesions, images=2)) == 2
    np.testing.assert_array_equal(rows, sample_by_lesion(lesions))

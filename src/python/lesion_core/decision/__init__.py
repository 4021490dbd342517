"""From logits and embeddings to an answer: calibration, conformal sets, out-of-distribution, triage.

What only fits (scikit-learn, SciPy's optimisers) is imported in the functions that fit: a worker that serves a model
fits nothing, and would take seconds and 130 MB for it.
"""

"""From logits and embeddings to an answer: calibration, conformal sets, out-of-distribution, triage."""

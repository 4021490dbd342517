"""How good a bundle is on images that it was neither trained nor tuned on: scores, a report, a submission."""

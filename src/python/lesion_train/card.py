"""The model card, filled in from the run."""

from __future__ import annotations

from collections.abc import Sequence

from lesion_core.bundle import BundleManifest
from lesion_core.decision.parameters import TriageBand
from lesion_core.decision.triage import malignant_share


def render_card(manifest: BundleManifest) -> str:
    """A model card as Markdown, following Mitchell et al. 2019."""
    facts, backbone, decision = manifest.training, manifest.backbone, manifest.decision
    rows = "\n".join(f"| {name} | {interval} |" for name, interval in sorted(facts.metrics.items()))
    spec = manifest.preprocess
    border = "black border cut" if spec.crop_border else "black border kept"
    steps = f"{border}, colour constancy: {spec.colour_constancy or 'none'}"
    classes = "\n".join(f"| {d.code} | {d.name} | {d.malignancy.value} |" for d in manifest.taxonomy.diagnoses)
    coverage = "\n".join(f"| {code} | {interval} |" for code, interval in decision.conformal.measured.items())
    points = "\n".join(
        f"| {p.target} | {p.threshold} | {p.sensitivity} | {p.specificity} |" for p in decision.operating_points
    )
    bands = "\n".join(_band_row(band, decision.triage) for band in decision.triage)
    return f"""# Model card: {manifest.name}

**Research use only. Not a medical device.** It must not be used to make or to exclude a diagnosis.

## Model
Backbone `{backbone.name}` from plugin {backbone.plugin} {backbone.plugin_version} (code: {backbone.code_license}).
Training started from: {backbone.weights_origin} (weights: {backbone.weights_license}).
Input: {spec.input_size_px} x {spec.input_size_px} px, central square; {steps}.

## Classes
| code | diagnosis | grouping |
| --- | --- | --- |
{classes}

`{manifest.taxonomy.none_of_the_above.code}` has no training image: its probability states how unlike the training
images an image is; it is not a calibrated frequency.

## Data
`{facts.dataset}`: {facts.train_images} images for training, {facts.validation_images} for validation, split by lesion
(seed {facts.seed}). Data digest `{facts.data_digest}`, split digest `{facts.split_digest}`.

## Measured
Intervals are bootstrap intervals that resample whole lesions. Names with `val_` were measured on the validation part,
which also set the decision parameters; names with `test_` on images that nothing was fitted on.

| metric | value |
| --- | --- |
{rows}

## Decision parameters
All were fitted on the validation part. Temperature {decision.temperature:.3f}. Detector of strange images:
`{decision.ood.detector}`; an image is called unlike the training images above a score of
{decision.ood.threshold:.3f}, as {1 - decision.ood.quantile:.0%} of the validation images are.

Conformal sets promise each class a coverage of {decision.conformal.coverage:.0%}. Measured on lesions that did not set
them; the interval counts each lesion once:

| class | coverage |
| --- | --- |
{coverage}

Operating points, each set for a sensitivity. The intervals of the shares count each lesion once, that of the threshold
is a bootstrap:

| probability of | threshold | sensitivity | specificity |
| --- | --- | --- | --- |
{points}

Triage by malignancy risk. The last columns restate the share of malignant lesions in each band for other prevalences:

| band | from | malignant | not | share malignant | at 10 % | at 1 % |
| --- | --- | --- | --- | --- | --- | --- |
{bands}

## Limits
Trained on dermoscopic images of the sources named above; most of their patients have light skin. Not evaluated on
other devices, on clinical photographs, on children, or on other diagnoses. Scores on synthetic data say nothing about
skin.

## Origin
Made {facts.created_at} from revision `{facts.git_revision}`, environment digest `{facts.lock_digest}`.
"""


def _band_row(band: TriageBand, bands: Sequence[TriageBand]) -> str:
    shares = (malignant_share(band, bands, prevalence=prevalence) for prevalence in (None, 0.10, 0.01))
    counts = f"| {band.name} | {band.lower:.4f} | {band.malignant} | {band.not_malignant} |"
    return f"{counts} {' | '.join('–' if share != share else f'{share:.1%}' for share in shares)} |"

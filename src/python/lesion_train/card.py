"""The model card, filled in from the run."""

from __future__ import annotations

from lesion_core.bundle import BundleManifest


def render_card(manifest: BundleManifest) -> str:
    """A model card as Markdown, following Mitchell et al. 2019."""
    facts, backbone, decision = manifest.training, manifest.backbone, manifest.decision
    rows = "\n".join(f"| {name} | {interval} |" for name, interval in sorted(facts.metrics.items()))
    spec = manifest.preprocess
    border = "black border cut" if spec.crop_border else "black border kept"
    steps = f"{border}, colour constancy: {spec.colour_constancy or 'none'}"
    classes = "\n".join(f"| {d.code} | {d.name} | {d.malignancy.value} |" for d in manifest.taxonomy.diagnoses)
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
Temperature {decision.temperature:.3f}; conformal sets at {decision.conformal_coverage:.0%} nominal coverage; malignancy
risk is *high* from {decision.triage_threshold:.4f}, set for {decision.triage_sensitivity:.0%} sensitivity.

## Limits
Trained on dermoscopic images of the sources named above; most of their patients have light skin. Not evaluated on
other devices, on clinical photographs, on children, or on other diagnoses. Scores on synthetic data say nothing about
skin.

## Origin
Made {facts.created_at} from revision `{facts.git_revision}`, environment digest `{facts.lock_digest}`.
"""

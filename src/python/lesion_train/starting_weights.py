"""What the weights that a run starts from are: their licence, and where they are of a model of ours, its history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from lesion_core.bundle import MANIFEST, WEIGHTS, Bundle, load_bundle
from lesion_core.data_source import NOT_STATED, SEVERAL_LICENSES
from lesion_core.errors import LesionError
from lesion_core.frozen_split import seen_in_split
from lesion_core.splits import TRAIN, VALIDATION, Split
from lesion_plugins.backbone import RANDOM_ORIGIN, BackboneSpec
from lesion_plugins.weights import FILE_SUFFIX
from lesion_train.record import RunRecord

NO_LICENSE = "none"  # of weights that were drawn at random


@attrs.frozen(kw_only=True)
class StartingWeights:
    """In words, for the bundle. ``license`` holds all that bind, with ``SEVERAL_LICENSES`` between them."""

    origin: str
    license: str


def describe_weights(backbone: BackboneSpec, pretrained: str, origin: str, *, stated: str | None) -> StartingWeights:
    """Say what training starts from.

    A file of weights says nothing of its licence. The bundle that it lies in does: it is bound by the licences of its
    images and of the weights that it started from itself.

    Args:
        backbone: that is trained.
        pretrained: the setting.
        origin: of the weights, as ``build_classifier`` said.
        stated: licence that whoever trains states for a file; it counts instead of what the bundle says.
    Raises:
        LesionError: ``weights_license``: one is stated, and the weights are no file.
        BundleError: the file lies in a bundle that was altered.
    """
    is_file = pretrained.endswith(FILE_SUFFIX)
    if stated is not None and not is_file:
        raise LesionError(
            f"--weights-license {stated!r} is for weights of a file, and these are --pretrained {pretrained}, whose "
            "licence is known. Leave it out, or give --pretrained FILE.safetensors.",
            code="weights_license",
        )
    bundle = _bundle_of(Path(pretrained)) if is_file else None
    if bundle is None:
        return StartingWeights(origin=origin, license=stated or backbone.license_of(origin))
    facts, earlier = bundle.manifest.training, bundle.manifest.backbone
    inherited = (
        () if earlier.weights_origin == RANDOM_ORIGIN else tuple(earlier.weights_license.split(SEVERAL_LICENSES))
    )
    licenses = dict.fromkeys((*(facts.data_licenses or (NOT_STATED.name,)), *inherited))
    return StartingWeights(
        origin=(
            f"{origin}, of bundle {bundle.digest}, trained on {facts.dataset} (data digest {facts.data_digest[:12]}, "
            f"{facts.train_images:,} images) from {earlier.weights_origin}"
        ),
        license=stated or SEVERAL_LICENSES.join(licenses),
    )


def splits_behind(pretrained: str) -> tuple[Path, ...]:
    """The splits that a file of weights was trained on, as far as its run recorded them: its own, and earlier ones."""
    weights = Path(pretrained)
    if not pretrained.endswith(FILE_SUFFIX) or _bundle_of(weights) is None:
        return ()
    run = RunRecord(weights.resolve().parent.parent)
    return (*((run.split,) if run.split.is_file() else ()), *run.earlier_splits)


def require_unseen(splits: Sequence[Path], split: Split) -> None:
    """Check that what a run is measured on taught its starting weights nothing, or the scores would be too good.

    No image, lesion or patient of the validation part may have been trained on; none of the test part may have been
    chosen by, either.

    Args:
        splits: of the runs behind the starting weights.
        split: of the run.
    Raises:
        LesionError: ``trained_on_before``: says how many, and how to hold them out from the first run on.
        SplitError: an earlier split was altered.
    """
    for path in splits:
        validation = seen_in_split(path, split.validation, parts=(TRAIN,))
        test = seen_in_split(path, split.test, parts=(TRAIN, VALIDATION))
        if validation or test:
            raise LesionError(
                f"The starting weights were trained on images of {len(validation)} of the {len(split.validation)} "
                f"validation images, or chosen by images of {len(test)} of the {len(split.test)} test images, the same "
                f"lesion's or patient's: {path}. Scores would be too good. Freeze this run's split first, train the "
                "first model on 'lesion-train data split DIR --keep FILE --out OTHER', and start from that one.",
                code="trained_on_before",
            )


def noted_weights(record: RunRecord, backbone: BackboneSpec) -> StartingWeights:
    """What an interrupted run started from, as it noted then."""
    facts = record.description["facts"]
    origin = facts["weights_origin"]
    return StartingWeights(origin=origin, license=facts.get("weights_license") or backbone.license_of(origin))


def require_same_weights(record: RunRecord, weights: StartingWeights) -> None:
    """A run without a checkpoint starts again, from the weights that its record names; others may have their path."""
    noted = record.description["facts"]["weights_origin"]
    if weights.origin != noted:
        raise LesionError(
            f"{record.folder.name} started from other weights: {noted}; these are {weights.origin}. Give those, or "
            "begin a new run without --resume.",
            code="other_settings",
        )


def _bundle_of(weights: Path) -> Bundle | None:
    """The bundle whose weights a file is."""
    if weights.name != WEIGHTS or not (weights.parent / MANIFEST).is_file():
        return None
    return load_bundle(weights.parent)

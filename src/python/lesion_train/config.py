"""What a training run is asked to do.

A new setting is one line here and one of the docstring: the TOML key, the option, its help and its place in the record
follow from them. See ``config_file``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, gt, in_, le, optional

from lesion_core.decision.parameters import OodDetector
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec, Views
from lesion_plugins.backbone import BackboneSpec
from lesion_train.threads import ALL_CORES

LARGEST_SEED = 2**32 - 1  # scikit-learn, which splits, takes no larger one

# Settings of the loop and of its network, which a linear probe does not have.
NOT_OF_A_PROBE = (
    *("epochs", "batch_size", "accumulate", "learning_rate", "head_learning_rate", "layer_decay", "unfreeze_epochs"),
    *("weight_decay", "label_smoothing", "augmentation", "mixup", "cutmix", "dropout", "ema_decay", "patience", "keep"),
    "metadata_fusion",
)


class Imbalance(StrEnum):
    """What is done about classes of very different size; formulas and sources are in ``losses``."""

    NONE = "none"
    WEIGHTED = "weighted"
    CLASS_BALANCED = "class_balanced"
    FOCAL = "focal"
    LDAM_DRW = "ldam_drw"
    LOGIT_ADJUSTMENT = "logit_adjustment"
    BALANCED_SAMPLING = "balanced_sampling"


class Augmentation(StrEnum):
    """How much training images are changed at random; what each does is in ``augment``."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


class Keep(StrEnum):
    """Which of the averaged weights a run ends with."""

    BEST = "best"
    LAST = "last"


class Precision(StrEnum):
    """In which numbers the network computes."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@attrs.frozen(kw_only=True)
class TrainConfig:
    """Settings of one run. All of them are logged, and on a CPU a run with equal settings and data gives equal weights.

    Attributes:
        data: Folder of a data set; 'lesion-train data check DIR' says whether and how it can be read.
        data_license: Licence of your own images, such as 'CC BY 4.0'; the model card says what follows for the weights.
        taxonomy: TOML file with diagnoses of your own, for class folders; those of ISIC 2019 if not given.
        backbone: Name of a registered backbone; see 'lesion-train backbones'.
        pretrained: Where its weights start: bundled (ImageNet, offline), hub (downloads), none, or a .safetensors file.
        weights_license: Licence of the weights of such a file, where the bundle that it lies in does not say it.
        input_size_px: Side of the square that the network sees, in pixels; the backbone's own if not given.
        crop_border: Cut black bars and a dermatoscope's black surround before the central square; the backbone's own
            choice if not given.
        colour_constancy: shades_of_grey takes the colour of the light out of every image.
        views: Other views of an image that the finished model answers for too: flips_and_rotations or multi_crop.
        metadata_fusion: The network also learns from age, sex and site; images without them are answered as before.
        linear_probe: Fit the head alone, on features of the untouched backbone; has none of the loop's settings.
        epochs: Passes over the training part.
        batch_size: Images a step, over all processes.
        accumulate: Slices in which a process takes its share of a step, one after another; more need less memory.
        learning_rate: Peak learning rate of the backbone (AdamW, warm-up then cosine).
        head_learning_rate: Peak learning rate of the new head.
        layer_decay: Learning rate of each layer group over that of the next one towards the head; 1 treats all alike.
        unfreeze_epochs: The backbone's layer groups join one after another over so many epochs, the head's end first.
        weight_decay: AdamW's decoupled weight decay; biases and gains of normalisations have none.
        label_smoothing: Share of each label given to the other classes.
        imbalance: What is done about rare classes; formulas, sources and side effects are in losses.py and README.md.
        balance: 0 for equal images, 1 for equal classes; of weighted, focal and balanced_sampling.
        augmentation: Random changes to training images: light, medium or heavy.
        mixup: Images of a batch are blended in pairs, by a share from Beta(mixup, mixup); 0 is off, 0.2 usual.
        cutmix: A rectangle of another image is pasted in, its area from Beta(cutmix, cutmix); 0 is off, 1 usual.
        dropout: Dropout before the head.
        ema_decay: Decay a step of the averaged weights that are kept; shortened for short runs.
        patience: Stop after so many epochs without a better BMA on the validation part; never where not given. At least
            unfreeze_epochs.
        keep: Averaged weights of the epoch with the best BMA on the validation part, or of the last epoch.
        onnx: Also export the network, where the backbone promises that it answers the same; serving is then faster.
        ood_detector: What tells strange images from those of the training part; the backbone's default if not given.
        validation_fraction: Share of the lesions held out for validation, where no frozen split is given.
        test_fraction: Share held out for one measurement at the end, where neither split nor data set say; 0 for none.
        split: Frozen split to train on, made by 'lesion-train data split' or taken from a run (split.csv).
        fold: Which fold of a frozen split of k folds is held out for validation, counted from 1.
        seed: Seed of the split, the head, the order of the images and their augmentation.
        threads: Threads of the network on the CPU; one for each core that this program may use if not given.
        workers: Threads that prepare images ahead of the network, half as many by default; 0 prepares them when needed.
        device: auto takes a GPU where there is one.
        precision: bf16 is mixed precision; auto takes it where the device computes in it and the backbone gains.
        checkpoint_minutes: Time between two checkpoints within an epoch; each epoch ends with one. 0: after every step.
    """

    data: Path
    data_license: str | None = None
    taxonomy: Path | None = None
    backbone: str = "efficientnet_lite0"
    pretrained: str = "bundled"
    weights_license: str | None = None
    input_size_px: int | None = attrs.field(default=None, validator=optional([ge(32), le(1024)]))
    crop_border: bool | None = None
    colour_constancy: str | None = attrs.field(default=None, validator=in_((None, SHADES_OF_GREY)))
    views: Views = Views.NONE
    metadata_fusion: bool = False
    linear_probe: bool = False
    epochs: int = attrs.field(default=10, validator=ge(1))
    batch_size: int = attrs.field(default=16, validator=ge(2))
    accumulate: int = attrs.field(default=1, validator=ge(1))
    learning_rate: float = attrs.field(default=7e-4, validator=gt(0))
    head_learning_rate: float = attrs.field(default=2e-3, validator=gt(0))
    layer_decay: float = attrs.field(default=1.0, validator=[gt(0), le(1)])
    unfreeze_epochs: float = attrs.field(default=0.0, validator=ge(0))
    weight_decay: float = attrs.field(default=0.02, validator=ge(0))
    label_smoothing: float = attrs.field(default=0.05, validator=[ge(0), le(0.5)])
    imbalance: Imbalance = Imbalance.WEIGHTED
    balance: float = attrs.field(default=0.7, validator=[ge(0), le(1)])
    augmentation: Augmentation = Augmentation.MEDIUM
    mixup: float = attrs.field(default=0.0, validator=[ge(0), le(10)])
    cutmix: float = attrs.field(default=0.0, validator=[ge(0), le(10)])
    dropout: float = attrs.field(default=0.2, validator=[ge(0), le(0.9)])
    ema_decay: float = attrs.field(default=0.995, validator=[ge(0), le(0.99999)])
    patience: int | None = attrs.field(default=None, validator=optional(ge(1)))
    keep: Keep = Keep.BEST
    onnx: bool = True
    ood_detector: OodDetector | None = None
    validation_fraction: float = attrs.field(default=0.15, validator=[gt(0), le(0.5)])
    test_fraction: float = attrs.field(default=0.15, validator=[ge(0), le(0.5)])
    split: Path | None = None
    fold: int | None = attrs.field(default=None, validator=optional(ge(1)))
    seed: int = attrs.field(default=0, validator=[ge(0), le(LARGEST_SEED)])
    threads: int = attrs.field(default=ALL_CORES, validator=ge(1))
    workers: int = attrs.field(default=max(1, ALL_CORES // 2), validator=ge(0))
    device: str = attrs.field(default="auto", validator=in_(("auto", "cpu", "cuda")))
    precision: Precision = Precision.AUTO
    checkpoint_minutes: float = attrs.field(default=5.0, validator=ge(0))

    def __attrs_post_init__(self) -> None:
        found = conflicts(attrs.asdict(self, recurse=False))
        if found:
            raise ValueError("; ".join(found))

    @property
    def sampling_balance(self) -> float:
        """``balance`` where it decides on how often a class is shown, else 0: each image once an epoch."""
        return self.balance if self.imbalance is Imbalance.BALANCED_SAMPLING else 0.0


def conflicts(settings: Mapping[str, Any]) -> list[str]:
    """What of the settings does not go together, one sentence each.

    Args:
        settings: by field of ``TrainConfig``, each in range by itself; required ones may be missing.
    """
    found: list[str] = []
    imbalance, patience, unfreeze_epochs = (settings[name] for name in ("imbalance", "patience", "unfreeze_epochs"))
    if settings["linear_probe"]:
        default = attrs.fields_dict(TrainConfig)
        idle = [name for name in NOT_OF_A_PROBE if settings[name] != default[name].default]
        if idle:
            found.append(f"a linear_probe has no {', '.join(idle)}: leave these out, or linear_probe")
        if imbalance not in (Imbalance.NONE, Imbalance.WEIGHTED):
            found.append(f"a linear_probe has no imbalance {imbalance}: possible are none and weighted")
    if imbalance is Imbalance.LDAM_DRW and patience is not None:
        found.append("ldam_drw does not go with patience: its weights come in the last fifth of the steps")
    if unfreeze_epochs >= settings["epochs"]:
        found.append("unfreeze_epochs has to be less than epochs, or the first layers would never be trained")
    if patience is not None and patience < unfreeze_epochs:
        found.append("patience has to be at least unfreeze_epochs, or a run may end before all layers are trained")
    return found


def preprocess_of(config: TrainConfig, backbone: BackboneSpec) -> PreprocessSpec:
    """How images become pixels: as the settings say, and as the backbone does where they say nothing."""
    own = backbone.preprocess
    return attrs.evolve(
        own,
        input_size_px=config.input_size_px or own.input_size_px,
        crop_border=own.crop_border if config.crop_border is None else config.crop_border,
        colour_constancy=config.colour_constancy or own.colour_constancy,
        views=config.views,
    )


def with_backbone_defaults(config: TrainConfig, backbone: BackboneSpec) -> TrainConfig:
    """The settings with all that the backbone decides written out, so that they mean the same with a later release.

    Raises:
        InputSizeError: the backbone does not take images of ``input_size_px``.
    """
    spec = preprocess_of(config, backbone)
    backbone.check_input_size(spec.input_size_px)
    return attrs.evolve(
        config,
        input_size_px=spec.input_size_px,
        crop_border=spec.crop_border,
        colour_constancy=spec.colour_constancy,
        ood_detector=config.ood_detector or backbone.ood_detector,
    )

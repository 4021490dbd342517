"""The model card, filled in from the run: for the clinician who reads it and for the engineer who answers for it.

Its sections follow Mitchell et al. 2019 (arXiv:1810.03993) and the model card of the Hugging Face Hub, whose first
lines it has, so that a bundle can be published there as it is. The text stands in ``card.md.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

import attrs
import jinja2

from lesion_core.bundle import BundleManifest
from lesion_core.data_source import DataSource
from lesion_core.decision.triage import MALIGNANT
from lesion_core.splits import TEST, VALIDATION, Split
from lesion_core.subgroups import FEWEST_LESIONS
from lesion_core.taxonomy import Malignancy
from lesion_train import card_tables as tables
from lesion_train.card_limits import commercial_use, limits, weights_terms
from lesion_train.card_tables import NOTHING, Markdown
from lesion_train.evaluation.findings import findings
from lesion_train.evaluation.groups import FEWEST_IN_A_SHARE
from lesion_train.evaluation.values import Evaluation

REQUIRED_SECTIONS = (
    "Intended use",
    "Not for",
    "Model",
    "Training",
    "Data",
    "Metrics",
    "Diagnoses",
    "Groups of patients",
    "Calibration",
    "Conformal sets",
    "Operating points",
    "Triage",
    "Strange images",
    "Limits",
    "Licences",
    "Origin",
)
# What people write, and templates hold, where something is still to be said.
PLACEHOLDERS = re.compile(r"\[?more information needed\]?|\bTODO\b|\bTBD\b", re.IGNORECASE)

# Settings that matter for what the model is, with names for people; ``config.toml`` of the run holds all of them.
SETTINGS = {
    "linear_probe": "Head alone, on features of the untouched backbone",
    "epochs": "Epochs at most",
    "patience": "Stopped after so many epochs without gain",
    "keep": "Weights kept: of the epoch",
    "batch_size": "Images a step",
    "learning_rate": "Learning rate of the backbone",
    "head_learning_rate": "Learning rate of the head",
    "layer_decay": "Learning rate of a layer group over the next one's",
    "unfreeze_epochs": "Epochs of staged unfreezing",
    "weight_decay": "Weight decay",
    "ema_decay": "Decay of the averaged weights",
    "dropout": "Dropout before the head",
    "label_smoothing": "Label smoothing",
    "imbalance": "Rare classes",
    "balance": "Strength of that, 0 to 1",
    "augmentation": "Augmentation",
    "mixup": "Mixup",
    "cutmix": "Cutmix",
    "seed": "Seed",
    "precision": "Precision",
}
WITHOUT_EPOCHS = ("linear_probe", "imbalance", "balance", "seed")  # what a linear probe takes of them


@attrs.frozen(kw_only=True)
class CardFacts:
    """What a card is filled in from.

    Attributes:
        manifest: of the bundle.
        parameters: of the whole network.
        settings: of the run, as ``config_file.without_paths`` gives them.
        split: the images.
        source: where they come from.
        evaluations: of the validation part and, where there is one, of the test part, by the names of ``split.parts``.
    """

    manifest: BundleManifest
    parameters: int
    settings: Mapping[str, object]
    split: Split
    source: DataSource
    evaluations: Mapping[str, Evaluation]

    @property
    def reported(self) -> Evaluation:
        """Of the part that the card quotes: the test part where there is one."""
        return self.evaluations.get(TEST) or self.evaluations[VALIDATION]


def render_card(facts: CardFacts) -> str:
    """The card as Markdown; it has all of ``REQUIRED_SECTIONS``."""
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701  # it is Markdown: ``plain`` escapes what means something there, and HTML's "<"
        undefined=jinja2.StrictUndefined,
        finalize=tables.plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        shown=tables.shown, share=tables.share, percent="{:.0%}".format, fixed=lambda value: f"{value:.3f}"
    )
    manifest, reported = facts.manifest, facts.reported
    taxonomy = manifest.taxonomy
    source = resources.files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    text = environment.from_string(source).render(
        facts=facts,
        manifest=manifest,
        training=manifest.training,
        backbone=manifest.backbone,
        decision=manifest.decision,
        spec=manifest.preprocess,
        taxonomy=taxonomy,
        source=facts.source,
        split=facts.split,
        validation=facts.evaluations[VALIDATION],
        reported=reported,
        has_test=TEST in facts.evaluations,
        measured=sum(item.images > 0 for item in reported.classes),
        never_seen=_never_seen(facts),
        malignant=[d.name for d in taxonomy.trained if d.malignancy is Malignancy.MALIGNANT],
        malignant_point=reported.operating_result(MALIGNANT),
        findings=findings(reported),
        limits=[Markdown(sentence) for sentence in limits(facts.split, facts.source, taxonomy)],
        commercial_use=commercial_use(facts.source, manifest.backbone),
        weights_terms=weights_terms(facts.source, manifest.backbone),
        settings=_settings(facts.settings),
        classes=tables.table(
            ["code", "diagnosis", "grouping"], [[d.code, d.name, d.malignancy.value] for d in taxonomy.diagnoses]
        ),
        tables=tables,
        fewest_lesions=FEWEST_LESIONS,
        fewest_in_a_share=FEWEST_IN_A_SHARE,
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def missing_sections(card: str) -> tuple[str, ...]:
    """Required sections that a card lacks, or that say nothing: empty, or a placeholder.

    Args:
        card: Markdown. A section is a heading of level two, its text what stands below it up to the next one.
    Returns:
        Of ``REQUIRED_SECTIONS``, in their order; none where the card is complete.
    """
    found = dict.fromkeys(REQUIRED_SECTIONS, "")
    for section in re.split(r"^## +", card, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if heading.strip() in found:
            found[heading.strip()] = text
    return tuple(heading for heading, text in found.items() if not _says_something(text))


def _says_something(text: str) -> bool:
    lines = (line.strip() for line in PLACEHOLDERS.sub("", text).splitlines())
    return any(re.search(r"\w", line) for line in lines if not line.startswith("#"))


def _never_seen(facts: CardFacts) -> list[str]:
    """Names of the trained classes without a training image."""
    seen = {record.diagnosis for record in facts.split.train}
    return [diagnosis.name for diagnosis in facts.manifest.taxonomy.trained if diagnosis.code not in seen]


def _settings(settings: Mapping[str, object]) -> Markdown:
    wanted = WITHOUT_EPOCHS if settings.get("linear_probe") else [name for name in SETTINGS if name != "linear_probe"]
    shown = {True: "yes", False: "no", None: NOTHING}
    rows = []
    for name in wanted:
        if name in settings:
            value = settings[name]
            rows.append([SETTINGS[name], shown[value] if value is None or isinstance(value, bool) else value])
    return tables.table(["setting", "value"], rows)

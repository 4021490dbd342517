"""The diagnoses that a classifier distinguishes: the eight of ISIC 2019 and *none of the above*.

Source of classes and order: ISIC 2019 challenge, https://challenge.isic-archive.com/landing/2019/ .
Grouping: the malignant classes are melanoma, basal cell carcinoma and squamous cell carcinoma; actinic keratosis
is a precursor (*indeterminate*): it counts neither as benign nor as cancer.
"""

from __future__ import annotations

import difflib
import re
from enum import StrEnum

import attrs

from lesion_core.errors import UnknownDiagnosisError


class Malignancy(StrEnum):
    """What a diagnosis means for urgency."""

    BENIGN = "benign"
    MALIGNANT = "malignant"
    INDETERMINATE = "indeterminate"


@attrs.frozen(kw_only=True)
class Diagnosis:
    """One class: its official ``code``, display ``name``, one plain-language sentence and other names for it."""

    code: str
    name: str
    malignancy: Malignancy
    plain: str
    synonyms: tuple[str, ...] = ()


def _normalise(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", label.lower()).strip()


@attrs.frozen(kw_only=True)
class Taxonomy:
    """An ordered set of diagnoses.

    The first ``len(trained)`` outputs of a classifier follow this order; ``none_of_the_above``, which has no
    training image, comes last in every vector of probabilities.
    """

    name: str
    trained: tuple[Diagnosis, ...] = attrs.field(validator=attrs.validators.min_len(2))
    none_of_the_above: Diagnosis

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """All classes, *none of the above* last."""
        return (*self.trained, self.none_of_the_above)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all classes, in the order of the probabilities."""
        return tuple(diagnosis.code for diagnosis in self.diagnoses)

    @property
    def trained_codes(self) -> tuple[str, ...]:
        """Codes of the classes that have training images, in the order of the logits."""
        return tuple(diagnosis.code for diagnosis in self.trained)

    def resolve(self, label: str) -> Diagnosis:
        """Find a diagnosis by code, name or synonym; case, spaces and punctuation do not matter.

        Raises:
            UnknownDiagnosisError: names the closest possible labels.
        """
        wanted = _normalise(label)
        names: dict[str, Diagnosis] = {}
        for diagnosis in self.diagnoses:
            for name in (diagnosis.code, diagnosis.name, *diagnosis.synonyms):
                names[_normalise(name)] = diagnosis
        if wanted in names:
            return names[wanted]
        closest = difflib.get_close_matches(wanted, names, n=2, cutoff=0.6)
        raise UnknownDiagnosisError(label, tuple(closest), self.codes)

    def index(self, label: str) -> int:
        """Position of a diagnosis in the vector of probabilities."""
        return self.codes.index(self.resolve(label).code)


def _diagnosis(code: str, name: str, malignancy: Malignancy, plain: str, *synonyms: str) -> Diagnosis:
    return Diagnosis(code=code, name=name, malignancy=malignancy, plain=plain, synonyms=synonyms)


ISIC_2019 = Taxonomy(
    name="isic-2019",
    trained=(
        _diagnosis(
            "MEL",
            "Melanoma",
            Malignancy.MALIGNANT,
            "A cancer of the pigment-making cells that can spread; it needs prompt specialist care.",
            "malignant melanoma",
        ),
        _diagnosis(
            "NV",
            "Melanocytic nevus",
            Malignancy.BENIGN,
            "A common mole: a harmless cluster of pigment-making cells.",
            "nevus",
            "naevus",
            "melanocytic naevus",
            "melanocytic nevi",
            "mole",
        ),
        _diagnosis(
            "BCC",
            "Basal cell carcinoma",
            Malignancy.MALIGNANT,
            "The most common skin cancer: it grows slowly and rarely spreads, but has to be treated.",
        ),
        _diagnosis(
            "AK",
            "Actinic keratosis",
            Malignancy.INDETERMINATE,
            "A rough, sun-damaged patch that can turn into squamous cell carcinoma over time.",
            "AKIEC",
            "solar keratosis",
            "actinic keratoses",
        ),
        _diagnosis(
            "BKL",
            "Benign keratosis",
            Malignancy.BENIGN,
            "A harmless growth such as a seborrhoeic keratosis, solar lentigo or lichen-planus-like keratosis.",
            "pigmented benign keratosis",
            "seborrheic keratosis",
            "seborrhoeic keratosis",
            "solar lentigo",
            "lichen planus like keratosis",
            "benign keratosis like lesions",
        ),
        _diagnosis(
            "DF",
            "Dermatofibroma",
            Malignancy.BENIGN,
            "A harmless firm nodule of fibrous tissue, often after a small injury.",
        ),
        _diagnosis(
            "VASC",
            "Vascular lesion",
            Malignancy.BENIGN,
            "A harmless growth of blood vessels, such as an angioma, angiokeratoma or pyogenic granuloma.",
            "vascular lesions",
            "hemangioma",
            "haemangioma",
            "angioma",
        ),
        _diagnosis(
            "SCC",
            "Squamous cell carcinoma",
            Malignancy.MALIGNANT,
            "A skin cancer of the flat surface cells that can spread if it is left untreated.",
        ),
    ),
    none_of_the_above=_diagnosis(
        "UNK",
        "None of the above",
        Malignancy.INDETERMINATE,
        "The image does not look like any of the diagnoses that this model was trained on.",
        "unknown",
        "none",
        "NOTA",
    ),
)

"""The diagnoses that a classifier distinguishes: the eight of ISIC 2019 and *none of the above*.

Source of classes and order: ISIC 2019 challenge, https://challenge.isic-archive.com/landing/2019/ .
Grouping: the malignant classes are melanoma, basal cell carcinoma and squamous cell carcinoma; actinic keratosis
is a precursor (*indeterminate*): it counts neither as benign nor as cancer.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from enum import StrEnum

import attrs

from lesion_core.errors import TaxonomyError, UnknownDiagnosisError


class Malignancy(StrEnum):
    """What a diagnosis means for urgency.

    - *malignant*: a cancer. Its probability counts towards the malignancy risk, which triage bands are made of.
    - *indeterminate*: neither. A precursor (actinic keratosis) does not count towards the risk and is not shown as
      harmless; *none of the above* may be anything.
    - *benign*: harmless if the diagnosis is right. Counts as *not malignant* when thresholds are set.
    """

    BENIGN = "benign"
    MALIGNANT = "malignant"
    INDETERMINATE = "indeterminate"


class CodeSystem(StrEnum):
    """Where a code comes from.

    - ICD-10: WHO, version of 2019, https://icd.who.int/browse10/2019/en (not the ICD-10-CM of the USA).
    - ICD-O-3: morphology with behaviour (/0 benign, /3 malignant), WHO and IACR, edition 3.2,
      https://www.iacr.com.fr/index.php?option=com_content&view=article&id=149 .
    - SNOMED CT: disorders of the international edition, https://browser.ihtsdotools.org ; some of them stand in
      DICOM PS3.16 too (actinic keratosis in CID 4405, hemangioma in CID 6030).
    """

    ICD_10 = "ICD-10"
    ICD_O_3 = "ICD-O-3"
    SNOMED_CT = "SNOMED CT"


_PATTERNS = {
    CodeSystem.ICD_10: re.compile(r"[A-Z]\d\d(\.\d{1,2})?"),
    CodeSystem.ICD_O_3: re.compile(r"\d{4}/[01236]"),
    CodeSystem.SNOMED_CT: re.compile(r"[1-9]\d{5,17}"),
}


def _of_its_system(instance: ClinicalCode, attribute: attrs.Attribute[str], value: str) -> None:
    if not _PATTERNS[instance.system].fullmatch(value):
        raise ValueError(f"{value!r} is not a code of {instance.system}")


@attrs.frozen(kw_only=True)
class ClinicalCode:
    """A code of a diagnosis as clinics and registries write it, with that system's own words for it."""

    system: CodeSystem
    code: str = attrs.field(validator=_of_its_system)
    display: str = attrs.field(validator=attrs.validators.min_len(1))

    def __str__(self) -> str:
        return f"{self.system} {self.code}"


@attrs.frozen(kw_only=True)
class Diagnosis:
    """One class.

    Attributes:
        code: short and official, such as ``MEL``.
        name: for people.
        malignancy: see ``Malignancy``.
        plain: one sentence in plain language.
        synonyms: other names for it, as data sets and folders use them.
        codes: of its members where the class is a group. Only codes that were found in a public source stand here, so a
            system may have one for a member that lacks it.
    """

    code: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9][A-Za-z0-9_-]*"))
    name: str = attrs.field(validator=attrs.validators.matches_re(r"\S(.*\S)?"))
    malignancy: Malignancy
    plain: str
    synonyms: tuple[str, ...] = ()
    codes: tuple[ClinicalCode, ...] = ()


def _normalise(label: str) -> str:
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", label).casefold()).strip()


def _labels(diagnosis: Diagnosis) -> tuple[str, ...]:
    return (diagnosis.code, diagnosis.name, *diagnosis.synonyms)


@attrs.frozen(kw_only=True)
class Taxonomy:
    """An ordered set of diagnoses.

    The first ``len(trained)`` outputs of a classifier follow this order; ``none_of_the_above``, which has no
    training image, comes last in every vector of probabilities.
    """

    name: str
    trained: tuple[Diagnosis, ...] = attrs.field(validator=attrs.validators.min_len(2))
    none_of_the_above: Diagnosis

    def __attrs_post_init__(self) -> None:
        clashes = []
        owner: dict[str, str] = {}
        for diagnosis in self.diagnoses:
            for label in dict.fromkeys(map(_normalise, _labels(diagnosis))):
                if label in owner:
                    clashes.append(f"{label!r} names both {owner[label]} and {diagnosis.code}")
                owner.setdefault(label, diagnosis.code)
        if clashes:
            raise TaxonomyError(f"Taxonomy {self.name!r}: {'; '.join(clashes)}. Each name needs one diagnosis.")

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
            for name in _labels(diagnosis):
                names[_normalise(name)] = diagnosis
        if wanted in names:
            return names[wanted]
        closest = difflib.get_close_matches(wanted, names, n=2, cutoff=0.6)
        raise UnknownDiagnosisError(label, tuple(closest), self.codes)

    def index(self, label: str) -> int:
        """Position of a diagnosis in the vector of probabilities."""
        return self.codes.index(self.resolve(label).code)


def _codes(*, icd_10: dict[str, str], icd_o_3: dict[str, str], snomed_ct: dict[str, str]) -> tuple[ClinicalCode, ...]:
    systems = ((CodeSystem.ICD_10, icd_10), (CodeSystem.ICD_O_3, icd_o_3), (CodeSystem.SNOMED_CT, snomed_ct))
    return tuple(
        ClinicalCode(system=system, code=code, display=display)
        for system, codes in systems
        for code, display in codes.items()
    )


NONE_OF_THE_ABOVE = Diagnosis(
    code="UNK",
    name="None of the above",
    malignancy=Malignancy.INDETERMINATE,
    plain="The image does not look like any of the diagnoses that this model was trained on.",
    synonyms=("unknown", "none", "NOTA"),
)

# Synonyms: the codes of HAM10000 and PAD-UFES-20, and the names of the ISIC Archive. Bowen's disease, which HAM10000
# counts as AKIEC, is left out on purpose: it is a carcinoma in situ, and other sources count it as SCC.
ISIC_2019 = Taxonomy(
    name="isic-2019",
    trained=(
        Diagnosis(
            code="MEL",
            name="Melanoma",
            malignancy=Malignancy.MALIGNANT,
            plain="A cancer of the pigment-making cells that can spread; it needs prompt specialist care.",
            synonyms=("malignant melanoma", "Melanoma, NOS", "Melanoma Invasive"),
            codes=_codes(
                icd_10={"C43.9": "Malignant melanoma of skin, unspecified"},
                icd_o_3={"8720/3": "Malignant melanoma, NOS"},
                snomed_ct={"93655004": "Malignant melanoma of skin"},
            ),
        ),
        Diagnosis(
            code="NV",
            name="Melanocytic nevus",
            malignancy=Malignancy.BENIGN,
            plain="A common mole: a harmless cluster of pigment-making cells.",
            synonyms=("nevus", "naevus", "melanocytic naevus", "melanocytic nevi", "mole", "NEV"),
            codes=_codes(
                icd_10={"D22.9": "Melanocytic naevi, unspecified"},
                icd_o_3={"8720/0": "Pigmented nevus, NOS"},
                snomed_ct={"400010006": "Melanocytic nevus of skin"},
            ),
        ),
        Diagnosis(
            code="BCC",
            name="Basal cell carcinoma",
            malignancy=Malignancy.MALIGNANT,
            plain="The most common skin cancer: it grows slowly and rarely spreads, but has to be treated.",
            synonyms=("basalioma",),
            codes=_codes(
                icd_10={"C44.9": "Malignant neoplasm of skin, unspecified"},
                icd_o_3={"8090/3": "Basal cell carcinoma, NOS"},
                snomed_ct={"254701007": "Basal cell carcinoma of skin"},
            ),
        ),
        Diagnosis(
            code="AK",
            name="Actinic keratosis",
            malignancy=Malignancy.INDETERMINATE,
            plain="A rough, sun-damaged patch that can turn into squamous cell carcinoma over time.",
            synonyms=("AKIEC", "ACK", "solar keratosis", "actinic keratoses", "solar or actinic keratosis"),
            codes=_codes(
                icd_10={"L57.0": "Actinic keratosis"},
                icd_o_3={},  # not a neoplasm there
                snomed_ct={"201101007": "Actinic keratosis"},
            ),
        ),
        Diagnosis(
            code="BKL",
            name="Benign keratosis",
            malignancy=Malignancy.BENIGN,
            plain="A harmless growth such as a seborrhoeic keratosis, solar lentigo or lichen-planus-like keratosis.",
            synonyms=(
                "pigmented benign keratosis",
                "seborrheic keratosis",
                "seborrhoeic keratosis",
                "SEK",
                "solar lentigo",
                "lichen planus like keratosis",
                "benign keratosis like lesions",
                "benign keratosis like lesion",
            ),
            codes=_codes(
                icd_10={"L82": "Seborrhoeic keratosis", "L81.4": "Other melanin hyperpigmentation"},
                icd_o_3={},
                snomed_ct={"72100002": "Solar lentigo"},
            ),
        ),
        Diagnosis(
            code="DF",
            name="Dermatofibroma",
            malignancy=Malignancy.BENIGN,
            plain="A harmless firm nodule of fibrous tissue, often after a small injury.",
            synonyms=("dermatofibromas", "benign fibrous histiocytoma"),
            codes=_codes(
                icd_10={"D23.9": "Other benign neoplasm of skin, unspecified"},
                icd_o_3={"8832/0": "Dermatofibroma, NOS"},
                snomed_ct={},
            ),
        ),
        Diagnosis(
            code="VASC",
            name="Vascular lesion",
            malignancy=Malignancy.BENIGN,
            plain="A harmless growth of blood vessels, such as an angioma, angiokeratoma or pyogenic granuloma.",
            synonyms=(
                "vascular lesions",
                "hemangioma",
                "haemangioma",
                "angioma",
                "angiokeratoma",
                "pyogenic granuloma",
            ),
            codes=_codes(
                icd_10={"D18.0": "Haemangioma, any site", "L98.0": "Pyogenic granuloma"},
                icd_o_3={"9120/0": "Hemangioma, NOS", "9141/0": "Angiokeratoma"},
                snomed_ct={"400210000": "Hemangioma"},
            ),
        ),
        Diagnosis(
            code="SCC",
            name="Squamous cell carcinoma",
            malignancy=Malignancy.MALIGNANT,
            plain="A skin cancer of the flat surface cells that can spread if it is left untreated.",
            synonyms=("squamous cell carcinoma, NOS", "squamous cell carcinoma, invasive"),
            codes=_codes(
                icd_10={"C44.9": "Malignant neoplasm of skin, unspecified"},
                icd_o_3={"8070/3": "Squamous cell carcinoma, NOS"},
                snomed_ct={"254651007": "Squamous cell carcinoma of skin"},
            ),
        ),
    ),
    none_of_the_above=NONE_OF_THE_ABOVE,
)

"""The diagnoses and their names."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.errors import TaxonomyError, UnknownDiagnosisError
from lesion_core.taxonomy import ISIC_2019, ClinicalCode, CodeSystem, Diagnosis, Malignancy, Taxonomy


def test_classes_stand_in_the_order_of_the_challenge() -> None:
    """The order is a contract: probabilities are vectors."""

    assert ISIC_2019.codes == ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("MEL", "MEL"),
        ("melanoma", "MEL"),
        ("Nevus", "NV"),
        ("actinic keratosis", "AK"),
        ("pigmented benign keratosis", "BKL"),
        ("seborrheic_keratosis", "BKL"),
        ("Vascular Lesion", "VASC"),
        ("squamous-cell carcinoma", "SCC"),
        *((code, code.upper().replace("AKIEC", "AK")) for code in ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]),
        *zip(["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"], ["AK", "BCC", "MEL", "NV", "SCC", "BKL"], strict=True),
        ("Melanoma, NOS", "MEL"),
        ("Solar or actinic keratosis", "AK"),
        ("Squamous cell carcinoma, NOS", "SCC"),
    ],
)
def test_common_names_of_a_diagnosis_resolve_to_its_code(label: str, code: str) -> None:
    """Folder names of public copies of the data are understood."""

    assert ISIC_2019.resolve(label).code == code


@pytest.mark.parametrize(
    ("label", "closest"),
    [("Melanomaa", "melanoma"), ("nevuss", "nevus"), ("squamous cell", "squamous cell carcinoma"), ("Bcc1", "bcc")],
)
def test_an_unknown_label_names_the_closest(label: str, closest: str) -> None:
    """The error tells the next step."""
    with pytest.raises(
        UnknownDiagnosisError, match=f"No diagnosis named '{label}'. Did you mean '{closest}'"
    ) as caught:
        ISIC_2019.resolve(label)

    assert caught.value.label == label


def test_bowens_disease_is_nobodys_synonym() -> None:
    """Data sets disagree whether it is an actinic keratosis or a carcinoma: the user has to say."""
    with pytest.raises(UnknownDiagnosisError):
        ISIC_2019.resolve("Bowen's disease")


def test_the_malignant_classes_are_the_three_cancers() -> None:
    """Actinic keratosis is a precursor: indeterminate, not malignant."""
    malignant = {d.code for d in ISIC_2019.diagnoses if d.malignancy is Malignancy.MALIGNANT}

    assert malignant == {"MEL", "BCC", "SCC"}


@given(st.text(max_size=40))
def test_any_text_is_a_diagnosis_or_a_named_error(label: str) -> None:
    """Nothing else comes out."""
    try:
        found = ISIC_2019.resolve(label)
    except UnknownDiagnosisError:
        return

    assert found in ISIC_2019.diagnoses


VERHOEFF = np.array([
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
])  # fmt: skip
PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def has_verhoeff_check_digit(number: str) -> bool:
    """Verhoeff 1969: what SNOMED CT identifiers end in."""
    check = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(position % 8):
            value = PERMUTATION[value]
        check = int(VERHOEFF[check, value])
    return check == 0


def codes_of(system: CodeSystem) -> list[tuple[Diagnosis, str]]:
    return [(d, code.code) for d in ISIC_2019.diagnoses for code in d.codes if code.system is system]


def test_snomed_codes_are_concepts_without_a_slip_of_the_pen() -> None:
    """Check digit, and the partition of concepts (00) before it."""
    codes = codes_of(CodeSystem.SNOMED_CT)

    assert len(codes) >= 5
    for _, code in codes:
        assert has_verhoeff_check_digit(code), code
        assert code[-3:-1] == "00"
    assert not has_verhoeff_check_digit("93655005")


def test_the_behaviour_of_a_morphology_agrees_with_the_group() -> None:
    """ICD-O-3 ends in /3 for malignant and in /0 for benign."""
    behaviours = {(d.malignancy, code[-1]) for d, code in codes_of(CodeSystem.ICD_O_3)}

    assert behaviours == {(Malignancy.MALIGNANT, "3"), (Malignancy.BENIGN, "0")}


def test_every_trained_diagnosis_has_an_icd_10_code() -> None:
    """C for a malignant neoplasm, and only for that."""
    found = codes_of(CodeSystem.ICD_10)

    assert {d.code for d, _ in found} == set(ISIC_2019.trained_codes)
    assert all(code.startswith("C") == (d.malignancy is Malignancy.MALIGNANT) for d, code in found)


@pytest.mark.parametrize(
    ("system", "code"), [(CodeSystem.ICD_10, "8720/3"), (CodeSystem.ICD_O_3, "8720"), (CodeSystem.SNOMED_CT, "C43")]
)
def test_a_code_has_the_form_of_its_system(system: CodeSystem, code: str) -> None:
    """Otherwise it is refused when it is made."""
    with pytest.raises(ValueError, match=f"is not a code of {system}"):
        ClinicalCode(system=system, code=code, display="x")


def test_a_name_for_two_diagnoses_is_refused() -> None:
    """Whatever its case and punctuation."""
    mel, nv = ISIC_2019.trained[:2]

    with pytest.raises(TaxonomyError, match="'mole' names both MEL and NV"):
        Taxonomy(
            name="clash",
            trained=(attrs.evolve(mel, synonyms=("MOLE!",)), nv),
            none_of_the_above=ISIC_2019.none_of_the_above,
        )


@pytest.mark.parametrize("name", ["ΜΕΛΆΝΩΜΑ", "母斑", "Leberfleck (Nävus)"])
def test_names_in_other_scripts_are_names(name: str) -> None:
    """Not blanks that all mean the same."""
    mel, nv = ISIC_2019.trained[:2]
    taxonomy = Taxonomy(
        name="of another country",
        trained=(attrs.evolve(mel, name="メラノーマ"), attrs.evolve(nv, synonyms=(name,))),
        none_of_the_above=ISIC_2019.none_of_the_above,
    )

    assert taxonomy.resolve(name.lower()).code == "NV"
    assert taxonomy.resolve("メラノーマ").code == "MEL"

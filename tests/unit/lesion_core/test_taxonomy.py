"""The diagnoses and their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.errors import UnknownDiagnosisError
from lesion_core.taxonomy import ISIC_2019, Malignancy


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
        ("akiec", "AK"),
    ],
)
def test_common_names_of_a_diagnosis_resolve_to_its_code(label: str, code: str) -> None:
    """Folder names of public copies of the data are understood."""

    assert ISIC_2019.resolve(label).code == code


def test_an_unknown_label_names_the_closest() -> None:
    """The error tells the next step."""
    with pytest.raises(UnknownDiagnosisError, match="Did you mean 'melanoma'") as caught:
        ISIC_2019.resolve("Melanomaa")

    assert caught.value.label == "Melanomaa"


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

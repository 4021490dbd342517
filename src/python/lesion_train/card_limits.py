"""What a model card has to say about its data and its licences, as sentences that follow from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lesion_core.bundle import BackboneIdentity
from lesion_core.data_source import NOT_STATED, DataSource, License, allow_commercial_use, license_named
from lesion_core.datasets.cells import ANATOMICAL_SITES
from lesion_core.records import UNNAMED_LESION, ImageRecord, lesions_of
from lesion_core.splits import TEST, VALIDATION, Split
from lesion_core.subgroups import FEWEST_LESIONS
from lesion_core.taxonomy import Taxonomy

FEWEST_TO_LEARN_FROM = 100  # lesions of a diagnosis
ADULT_YEARS = 18
NO_LICENSE = "none"  # of weights that were drawn at random


def limits(split: Split, source: DataSource, taxonomy: Taxonomy) -> tuple[str, ...]:
    """What the images cannot tell, in sentences; the publisher's own caveats first."""
    records = [record for part in split.parts.values() for record in part]
    return (
        *source.caveats,
        *_people(records),
        *_body_sites(split),
        *_grouping(records),
        *_few_lesions(split, taxonomy),
    )


def _people(records: list[ImageRecord]) -> Iterator[str]:
    images, skin = len(records), [record.fitzpatrick for record in records if record.fitzpatrick]
    if len(skin) < images / 2:
        yield (
            f"A skin type is stated for {len(skin):,} of {images:,} images: how well the model does on dark skin is "
            "not known, and most public images show light skin."
        )
    else:
        dark = sum(skin_type >= 5 for skin_type in skin)
        yield f"{dark:,} of {len(skin):,} images with a stated skin type are of Fitzpatrick type V or VI."
    ages = [record.age_approx for record in records if record.age_approx is not None]
    minors = sum(age < ADULT_YEARS for age in ages)
    yield (
        f"{minors:,} of {len(ages):,} images with a stated age are of people under {ADULT_YEARS}: it was not made for "
        "children."
        if ages
        else "No image states an age: it was not made for children, and no score is by age."
    )


def _body_sites(split: Split) -> Iterator[str]:
    lesions: dict[str, set[str]] = {site: set() for site in ANATOMICAL_SITES}
    for record in split.train:
        if record.anatom_site_general is not None:
            lesions[record.anatom_site_general].add(record.lesion_id)
    if not any(lesions.values()):
        yield "No training image states a body site: how well it does on palms, soles, face or mucosa is not known."
        return
    few = [f"{site} ({len(found)})" for site, found in lesions.items() if len(found) < FEWEST_LESIONS]
    if few:
        yield f"Body sites with fewer than {FEWEST_LESIONS} training lesions: {', '.join(few)}."


def _grouping(records: list[ImageRecord]) -> Iterator[str]:
    images = len(records)
    single = sum(record.lesion_id == f"{UNNAMED_LESION}{record.isic_id}" for record in records)
    if single:
        yield (
            f"{single:,} of {images:,} images name no lesion, and each counts as a lesion of its own: where several of "
            "them show one lesion, the parts share it, and scores are too good."
        )
    named = sum(record.patient_id is not None for record in records)
    if named < images:
        yield (
            f"{images - named:,} of {images:,} images name no patient, so the parts may share patients, which makes "
            "scores a little too good."
        )


def _few_lesions(split: Split, taxonomy: Taxonomy) -> Iterator[str]:
    learnt = _lesions_by_diagnosis(split.train, taxonomy)
    few = [f"{code} ({count:,})" for code, count in learnt.items() if count < FEWEST_TO_LEARN_FROM]
    if few:
        yield f"Few lesions to learn from, fewer than {FEWEST_TO_LEARN_FROM}: {', '.join(few)}."
    name, held_out = (TEST, split.test) if split.test else (VALIDATION, split.validation)
    measured = _lesions_by_diagnosis(held_out, taxonomy)
    few = [f"{code} ({count:,})" for code, count in measured.items() if count < FEWEST_LESIONS]
    if few:
        yield (
            f"Few lesions to measure on in the {name} part, fewer than {FEWEST_LESIONS}: {', '.join(few)}. What is "
            "said of them is a rough guess."
        )


def _lesions_by_diagnosis(records: tuple[ImageRecord, ...], taxonomy: Taxonomy) -> Mapping[str, int]:
    return {
        code: len(np.unique(lesions_of([record for record in records if record.diagnosis == code])))
        for code in taxonomy.trained_codes
    }


def commercial_use(source: DataSource, backbone: BackboneIdentity) -> bool | None:
    """Whether the licences allow commercial use of the trained weights; ``None`` where one does not say."""
    return allow_commercial_use(license for _, license in _inherited(source, backbone))


def weights_terms(source: DataSource, backbone: BackboneIdentity) -> str:
    """What the licences of the images and of the starting weights mean for the trained weights, in one sentence."""
    allowed = commercial_use(source, backbone)
    deciding = [(what, one) for what, one in _inherited(source, backbone) if one.allows_commercial_use is allowed]
    if allowed is False:
        because = " and ".join(f"{what} are under {license.name}" for what, license in deciding)
        return f"The trained weights are for non-commercial use only, because {because}."
    if allowed is None:
        because = " and ".join(f"the licence of {what} {_unclear(license)}" for what, license in deciding)
        return f"What the trained weights may be used for is unknown, because {because}. Clear that before any use."
    named = " or ".join(f"{what} ({license.name})" for what, license in deciding)
    return f"The trained weights may be used commercially as far as the licence of {named} goes; name their authors."


def _unclear(license: License) -> str:
    if license == NOT_STATED:
        return "is not stated"
    return f"({license.name}) is not one that this program knows"


def _inherited(source: DataSource, backbone: BackboneIdentity) -> list[tuple[str, License]]:
    """What binds the trained weights, each with its licence."""
    images = "some of the images" if len(source.licenses) > 1 else "the images"
    found = [(images, license) for license in source.licenses]
    if backbone.weights_license != NO_LICENSE:
        found.append(("the weights that training started from", license_named(backbone.weights_license)))
    return found

"""What a version has to pass to become champion, and the way there and back.

The gates are pure functions of what was registered; ``promote`` and ``rollback`` apply them and move the alias.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs

from lesion_core.bundle import CARD
from lesion_core.data_source import NOT_STATED, SEVERAL_LICENSES
from lesion_core.errors import LesionError
from lesion_core.taxonomy import Malignancy, Taxonomy
from lesion_core.workspace import Workspace
from lesion_plugins.backbone import RANDOM_ORIGIN
from lesion_train.card import missing_sections
from lesion_train.card_tables import plain
from lesion_train.contender import Contender, NotComparableError, Pair, pair
from lesion_train.promotion_log import Action, champions_before
from lesion_train.tracking import CHAMPION
from lesion_train.tracking.client import named_errors
from lesion_train.tracking.fetch import fetch_version
from lesion_train.tracking.registry import Registry, registry_lock

MAX_ECE = 0.10
MELANOMA = "MEL"
_HINT = "Start MLflow with 'lesion-train mlflow', or name another with --tracking-uri."


@attrs.frozen(kw_only=True)
class Gate:
    """One condition. ``sentence`` gives the numbers; ``figures`` are the same for programs."""

    name: str
    has_passed: bool
    sentence: str
    figures: dict[str, Any] = attrs.field(factory=dict)
    can_override: bool = True


@attrs.frozen(kw_only=True)
class Moved:
    """The champion has changed."""

    model: str
    from_version: str | None
    to_version: str
    gates: tuple[Gate, ...] = ()


class PromotionRefusedError(LesionError):
    """A version that does not pass; ``gates`` holds all of them."""

    code = "promotion_refused"

    def __init__(self, message: str, gates: tuple[Gate, ...]) -> None:
        super().__init__(message)
        self.gates = gates


def examine(
    candidate: Contender, champion: Contender | None, *, max_ece: float = MAX_ECE, removed: str = ""
) -> tuple[Gate, ...]:
    """All gates of a candidate. ``champion`` is the version to replace; ``None`` where there is none.

    ``removed`` says why there is none to compare with although there may have been one; empty where there never was.
    """
    gates = [_bundle_gate(candidate)]
    if candidate.bundle is not None:
        gates += [_card_gate(candidate), _calibration_gate(candidate, max_ece)]
    return (*gates, *_comparison_gates(candidate, champion, removed))


def promote(
    reference: str,
    *,
    name: str,
    tracking_uri: str,
    workspace: Workspace,
    max_ece: float = MAX_ECE,
    override: bool = False,
    why: str = "",
) -> Moved:
    """Make a version champion if it passes all gates, or all that matter are overridden.

    Args:
        reference: number or alias of the version.
        name: of the registered model.
        tracking_uri: of MLflow.
        workspace: holds the promotion log and the lock.
        max_ece: highest expected calibration error, in [0, 1].
        override: promote although gates failed; needs ``why``. A bundle that is not intact is never promoted, since
            serving would refuse it.
        why: kept in the log.
    Raises:
        PromotionRefusedError: a gate failed.
        LesionError: ``no_reason``, ``already_champion``, ``champion_changed`` (by another program, meanwhile).
        TrackingError: MLflow is out of reach, or has no such version.
    """
    if override and not why.strip():
        raise LesionError("An override needs a reason for the log: add --why TEXT.", code="no_reason")
    with tempfile.TemporaryDirectory(prefix="lesion-promote-") as scratch, named_errors(tracking_uri, _HINT):
        registry = Registry.existing(tracking_uri, workspace, name)
        candidate = fetch_version(registry, reference, Path(scratch))
        current = registry.aliases().get(CHAMPION)
        if candidate.version == current:
            raise LesionError(f"{candidate.label} is the champion of {name} already.", code="already_champion")
        champion, removed = _to_replace(registry, current, candidate, Path(scratch))
        gates = examine(candidate, champion, max_ece=max_ece, removed=removed)
        failed = [gate for gate in gates if not gate.has_passed]
        final = [gate for gate in failed if not gate.can_override]
        if final or (failed and not override):
            how = "It cannot be overridden." if final else "Override it with --override --why TEXT."
            names = ", ".join(gate.name for gate in final or failed)
            raise PromotionRefusedError(
                f"{candidate.label} of {name} was not promoted; failed: {names}. {how}", gates=gates
            )
        with registry_lock(registry.workspace):
            registry.settle()
            _require_champion(registry, current)
            change = registry.change(
                Action.PROMOTE, current, str(candidate.version), candidate.digest, why=why or "all gates passed"
            )
            registry.move_champion(
                attrs.evolve(change, is_overridden=bool(failed), gates=[attrs.asdict(gate) for gate in gates])
            )
    return Moved(model=name, from_version=current, to_version=str(candidate.version), gates=gates)


def rollback(*, name: str, tracking_uri: str, workspace: Workspace, why: str = "") -> Moved:
    """Return to the champion before this one; again, to the one before that.

    Its bundle is verified first; the other gates are not asked, since it was champion.

    Raises:
        PromotionRefusedError: its bundle is not intact.
        LesionError: ``no_earlier_champion``; ``champion_changed`` (by another program, meanwhile).
        TrackingError: MLflow is out of reach, or does not have that version any more.
    """
    with tempfile.TemporaryDirectory(prefix="lesion-rollback-") as scratch, named_errors(tracking_uri, _HINT):
        registry = Registry.existing(tracking_uri, workspace, name)
        with registry_lock(registry.workspace):
            registry.settle()
            current = registry.aliases().get(CHAMPION)
            earlier = registry.earlier_champions(current)
            if not earlier:
                raise LesionError(
                    f"The log knows no champion of {name} before {f'version {current}' if current else 'now'}. "
                    "See 'lesion-train promotions'; any version can be promoted with 'lesion-train promote VERSION'.",
                    code="no_earlier_champion",
                )
        target = fetch_version(registry, earlier[0].to_version, Path(scratch), with_predictions=False)
        gate = _bundle_gate(target, expected=earlier[0].to_digest)
        if not gate.has_passed:
            raise PromotionRefusedError(
                f"{target.label} of {name} cannot be champion again: {gate.sentence} Promote another version.",
                gates=(gate,),
            )
        with registry_lock(registry.workspace):
            registry.settle()
            _require_champion(registry, current)
            change = registry.change(
                Action.ROLLBACK, current, earlier[0].to_version, target.digest, why=why or "no reason given"
            )
            registry.move_champion(attrs.evolve(change, gates=[attrs.asdict(gate)]))
    return Moved(model=name, from_version=current, to_version=earlier[0].to_version, gates=(gate,))


def _to_replace(
    registry: Registry, current: str | None, candidate: Contender, scratch: Path
) -> tuple[Contender | None, str]:
    """The champion; where it was removed, the last one that the log knows; else ``None``, and why, as ``examine``."""
    if current is not None:
        return fetch_version(registry, current, scratch), ""
    if last := next(iter(champions_before(registry.changes(), None)), None):
        still_there = registry.earlier_champions(None)
        if last not in still_there:
            how = "'lesion-train rollback' returns to an earlier one, which this one is then compared with."
            gone = f"version {last.to_version}, the last champion, is not registered any more."
            return None, f"{gone} {how}" if still_there else gone
        is_same = last.to_version == candidate.version
        return candidate if is_same else fetch_version(registry, last.to_version, scratch), ""
    if registry.had_champion() or len(registry.versions()) > 1:
        return None, (
            f"no version of {registry.name} is champion, and the log of this workspace does not say which one was, so "
            "there is none to compare with."
        )
    return None, ""


def _require_champion(registry: Registry, expected: str | None) -> None:
    """The one that the gates were asked about; the lock is held, which the downloads before were too long for."""
    if registry.aliases().get(CHAMPION) != expected:
        raise LesionError(
            f"The champion of {registry.name} was changed by another program meanwhile. Repeat the command.",
            code="champion_changed",
        )


def _bundle_gate(candidate: Contender, expected: str = "") -> Gate:
    is_same = not expected or expected == candidate.digest
    if candidate.bundle is not None and is_same:
        sentence = f"the bundle is intact and the one that was registered ({candidate.digest[:12]}…)."
    elif candidate.bundle is not None:
        sentence = f"the bundle {candidate.digest[:12]}… is not the one that was champion ({expected[:12]}…)."
    else:
        sentence = f"the bundle is not intact: {candidate.problem}"
    return Gate(
        name="bundle",
        has_passed=candidate.bundle is not None and is_same,
        sentence=sentence,
        figures={"digest": candidate.digest},
        can_override=False,
    )


def _card_gate(candidate: Contender) -> Gate:
    """Every section is there and says something, and the licences of code and weights are named.

    That of the images is not asked for: one's own often have none, and the card then says what that means.
    """
    assert candidate.bundle is not None
    text = candidate.bundle.read(CARD).decode("utf-8", errors="replace")
    backbone = candidate.bundle.manifest.backbone
    faults = [f"section '{heading}' is missing or says nothing" for heading in missing_sections(text)]
    licences = {"code": backbone.code_license, "weights": backbone.weights_license}
    if backbone.weights_origin == RANDOM_ORIGIN:
        del licences["weights"]  # training started from nobody's weights
    for what, licence in licences.items():
        names = {name.strip().lower() for name in licence.split(SEVERAL_LICENSES)}
        is_named = not names & {"", "unknown", "none", NOT_STATED.name} and plain(licence) in text
        faults += [] if is_named else [f"the licence of the {what} is not named"]
    return Gate(
        name="card",
        has_passed=not faults,
        sentence=f"the model card is not complete: {'; '.join(faults)}." if faults else "the model card is complete.",
        figures={"faults": faults},
    )


def _calibration_gate(candidate: Contender, limit: float) -> Gate:
    assert candidate.bundle is not None
    metrics = candidate.bundle.manifest.training.metrics
    found = next(((part, metrics[f"{part}_ece"]) for part in ("test", "val") if f"{part}_ece" in metrics), None)
    if found is None:
        return Gate(name="calibration", has_passed=False, sentence="the bundle states no calibration error (ECE).")
    part, measured = found
    relation = "within" if measured.value <= limit else "above"
    return Gate(
        name="calibration",
        has_passed=measured.value <= limit,
        sentence=f"ECE {measured} on the {part} part, {relation} the limit of {limit:.3f}.",
        figures={"part": part, "ece": attrs.asdict(measured), "limit": limit},
    )


def _comparison_gates(candidate: Contender, champion: Contender | None, removed: str) -> list[Gate]:
    """BMA, and the sensitivity for melanoma, not worse than the champion's beyond the paired interval.

    A watched class of which the part has images of less than two lesions fails: nothing says that it is not worse.
    """
    if champion is None:
        sentence = removed or "there is no champion yet to compare with."
        return [Gate(name="comparison", has_passed=not removed, sentence=sentence)]
    try:
        both = pair(champion, candidate)
    except NotComparableError as error:
        return [Gate(name="comparison", has_passed=False, sentence=error.message)]
    gates = [_not_worse("BMA", both, champion, candidate)]
    possible = set(both.metrics())
    for code in _watched_codes(candidate, both):
        metric = f"sensitivity {code}"
        gates.append(_not_worse(metric, both, champion, candidate) if metric in possible else _unmeasured(metric, both))
    return gates


def _watched_codes(candidate: Contender, both: Pair) -> list[str]:
    """Melanoma; in a taxonomy without it all malignant classes."""
    if MELANOMA in both.first.codes:
        return [MELANOMA]
    taxonomy: Taxonomy | None = candidate.bundle.manifest.taxonomy if candidate.bundle else None
    diagnoses = taxonomy.trained if taxonomy else ()
    return [item.code for item in diagnoses if item.malignancy is Malignancy.MALIGNANT]


def _unmeasured(metric: str, both: Pair) -> Gate:
    code = metric.removeprefix("sensitivity ")
    images = int((both.first.labels == both.first.codes.index(code)).sum())
    seen = f"images of one lesion of {code} only" if images else f"no image of {code}"
    return Gate(
        name=metric,
        has_passed=False,
        sentence=(
            f"{metric} cannot be compared: part '{both.part}' has {seen}. Measure both on images that have more."
        ),
        figures={"part": both.part, "images": images},
    )


def _not_worse(metric: str, both: Pair, champion: Contender, candidate: Contender) -> Gate:
    measured = both.difference(metric)
    gap = measured.difference
    is_worse = gap.high < 0
    verdict = "worse beyond the paired interval" if is_worse else "not worse beyond the paired interval"
    return Gate(
        name=metric,
        has_passed=not is_worse,
        sentence=(
            f"{metric} {measured.second.value:.3f} against {measured.first.value:.3f} of {champion.label} on "
            f"{len(both.first.labels):,} images of part '{both.part}': difference {gap.value:+.3f} "
            f"({gap.confidence:.0%} CI {gap.low:+.3f} to {gap.high:+.3f}), {verdict}."
        ),
        figures={
            "part": both.part,
            "champion": attrs.asdict(measured.first),
            "candidate": attrs.asdict(measured.second),
            "difference": attrs.asdict(gap),
        },
    )

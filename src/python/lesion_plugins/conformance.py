"""The contract of a backbone, as checks that anybody can run. A plugin's whole test is three lines:

@parametrize_with_checks(lesion_register_backbones())
def test_backbone_keeps_the_contract(spec, check):
    check(spec)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from lesion_plugins import conformance_checks as checks
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import ConformanceError, OnnxPackageMissingError

CHECKS: Mapping[str, Callable[[checks.Subject], None]] = {
    "features": checks.check_features,
    "determinism": checks.check_determinism,
    "batch": checks.check_batch,
    "weights": checks.check_weights,
    "gradients": checks.check_gradients,
    "input_sizes": checks.check_input_sizes,
    "offline": checks.check_offline,
    "spec": checks.check_spec,
    "feature_map": checks.check_feature_map,
    "onnx": checks.check_onnx,
}


def check_backbone(
    spec: BackboneSpec, *, only: Iterable[str] = tuple(CHECKS), input_size_px: int | None = None
) -> None:
    """Build a backbone with random weights on the CPU and check that it does what its spec promises.

    Torch's random state is left as it was.

    Args:
        spec: the backbone.
        only: names of ``CHECKS``; all by default. ``onnx`` takes some 15 seconds and needs ``onnx``, ``onnxruntime``
            and ``onnxscript``.
        input_size_px: size to check at; by default the smallest that the spec allows, which is the quickest.
    Raises:
        ConformanceError: with the ``reason``; whatever the network itself raises is one.
        OnnxPackageMissingError: the ``onnx`` check cannot run here.
        ImportError: the backbone's own package cannot.
    """
    size_px = spec.smallest_input_px if input_size_px is None else input_size_px
    spec.check_input_size(size_px)
    with checks.untouched_random_state():
        it = checks.subject(spec, size_px)
        for name in only:
            try:
                CHECKS[name](it)
            except (ConformanceError, OnnxPackageMissingError, ImportError):
                raise
            except Exception as error:  # a stranger's code
                raise ConformanceError(spec.name, f"{name}: {type(error).__name__}: {error}".rstrip(".")) from error


def parametrize_with_checks(
    specs: Iterable[BackboneSpec],
    *,
    only: Iterable[str] = tuple(CHECKS),
    known_failures: Mapping[tuple[str, str], str] | None = None,
) -> Any:  # pytest's MarkDecorator: pytest is the tester's, not ours
    """Mark a test with the arguments ``spec`` and ``check``: it runs once for each check of each backbone.

    Args:
        specs: the backbones, as the hook offers them.
        only: names of ``CHECKS``; all by default.
        known_failures: reasons by backbone and check. They are strict: one that passes after all is a failure; so is
            one that cannot run because a package is missing.
    Raises:
        ConformanceError: a known failure without a reason, or of a backbone or check that is not run.
    """
    pytest = import_module("pytest")

    known = dict(known_failures or {})
    params = []
    for spec in specs:
        for name in only:
            reason = known.pop((spec.name, name), None)
            if reason is not None and not reason.strip():
                raise ConformanceError(spec.name, f"the known failure of {name!r} has no reason")
            marks = () if reason is None else (pytest.mark.xfail(reason=reason, strict=True, raises=ConformanceError),)
            params.append(pytest.param(spec, partial(_check, name), id=f"{spec.name}-{name}", marks=marks))
    for backbone, name in known:
        raise ConformanceError(backbone, f"the known failure of {name!r} is of nothing that is checked here")
    return pytest.mark.parametrize(("spec", "check"), params)


def _check(name: str, spec: BackboneSpec, **options: Any) -> None:
    check_backbone(spec, only=(name,), **options)

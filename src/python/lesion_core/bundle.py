"""The bundle: the folder that a model *is*. Training writes it, serving reads it, and nothing in it is ever executed.

    bundle.json            the manifest below, with the sha256 of every other file
    weights.safetensors    parameters of the classifier
    model.onnx             the same network for ONNX Runtime; only where its answers are the same
    reference.safetensors  statistics of the training embeddings (see ``decision.ood``)
    drift.safetensors      what a server compares its images with (see ``drift_reference``); older bundles have none
    card.md                model card, filled in from the run
    evaluation.json        how good it was found to be on images that it has not seen; for people, nothing depends on it

A bundle with one flipped byte, a missing file or an unlisted one is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import cattrs

from lesion_core.decision.parameters import DecisionParameters
from lesion_core.errors import BundleError
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.taxonomy import Taxonomy

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
ONNX = "model.onnx"
REFERENCE = "reference.safetensors"
CARD = "card.md"
REGISTERED_FOLDER = "bundle"
DIGEST_TAG = "bundle_digest"  # of a registered version
EVALUATION = "evaluation.json"
REQUIRED_FILES = (WEIGHTS, REFERENCE, CARD)


@attrs.frozen(kw_only=True)
class BackboneIdentity:
    """Where the backbone came from. ``weights_origin`` names what training started from."""

    name: str
    plugin: str
    plugin_version: str
    code_license: str
    weights_license: str
    weights_origin: str


@attrs.frozen(kw_only=True)
class TrainingFacts:
    """What produced the weights. Names of ``metrics`` begin with their part, ``val_`` or ``test_``.

    ``data_licenses`` names the licences of the images; bundles of earlier releases do not say them.
    """

    dataset: str
    data_digest: str
    split_digest: str
    seed: int
    git_revision: str
    lock_digest: str
    created_at: str
    train_images: int
    validation_images: int
    metrics: dict[str, Interval]
    data_licenses: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class OnnxParity:
    """How the network in ONNX Runtime compares with the one in torch, on the whole validation part.

    ``max_logit_gap`` is the largest absolute difference of a logit, ``disagreements`` counts images that get another
    class.
    """

    LARGEST_GAP: ClassVar[float] = 1e-3

    images: int
    max_logit_gap: float
    disagreements: int

    @property
    def holds(self) -> bool:
        """Whether one may stand for the other: no logit is further off than ``LARGEST_GAP``, and no class differs."""
        return self.max_logit_gap <= self.LARGEST_GAP and self.disagreements == 0


@attrs.frozen(kw_only=True)
class BundleManifest:
    """The content of ``bundle.json``.

    ``decision_with_metadata`` is for images that come with age, sex or site; ``None`` where the data had none of them.
    ``metadata_sites`` are the sites that the network's own branch for metadata knows; ``None`` where it has no branch.
    ``onnx_parity`` is ``None`` where the network was not exported; where it does not hold, there is no ``model.onnx``.
    """

    name: str
    backbone: BackboneIdentity
    taxonomy: Taxonomy
    preprocess: PreprocessSpec
    decision: DecisionParameters
    training: TrainingFacts
    decision_with_metadata: DecisionParameters | None = None
    metadata_sites: tuple[str, ...] | None = None
    onnx_parity: OnnxParity | None = None
    files: dict[str, str] = attrs.field(factory=dict)
    schema_version: int = SCHEMA_VERSION


@attrs.frozen(kw_only=True)
class Bundle:
    """A verified bundle on disk. ``digest`` is the sha256 of its manifest and so covers every file."""

    folder: Path
    manifest: BundleManifest
    digest: str

    def read(self, name: str) -> bytes:
        """Bytes of one file, checked against the manifest again, so that what is used is what was verified.

        Raises:
            BundleError: the file is not listed, or has changed since the bundle was loaded.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder} has no file {name!r}; it has {', '.join(self.manifest.files)}.")
        data = (self.folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.manifest.files[name]:
            raise BundleError(f"{self.folder / name} does not match its sha256 in {MANIFEST}: it was altered.")
        return data


_converter = cattrs.Converter(forbid_extra_keys=True)


def write_bundle(folder: Path, manifest: BundleManifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle atomically: after a crash there is a whole bundle at ``folder`` or none.

    Args:
        folder: must not exist yet.
        manifest: its ``files`` are filled in here.
        files: content by file name; at least ``REQUIRED_FILES``.
    Raises:
        BundleError: ``folder`` exists, or a required file is missing.
    """
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise BundleError(f"A bundle needs the files {', '.join(missing)}.")
    if folder.exists():
        raise BundleError(f"{folder} exists already; a bundle is never overwritten. Choose another folder.")
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    manifest = attrs.evolve(manifest, files=digests)
    text = json.dumps(_converter.unstructure(manifest), indent=2, sort_keys=True, ensure_ascii=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in {**files, MANIFEST: text.encode()}.items():
            with (staging / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        staging.chmod(0o755)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return load_bundle(folder)


def registered_bundle(fetched: Path) -> Path:
    """The bundle in what a model registry holds of a version: a folder in it, or, of earlier releases, it itself."""
    inside = fetched / REGISTERED_FOLDER
    return inside if inside.is_dir() else fetched


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle. Executes nothing from it.

    Raises:
        BundleError: not a bundle, another schema version, or a file missing, altered or unlisted.
    """
    path = folder / MANIFEST
    if not path.is_file():
        inside = folder / REGISTERED_FOLDER
        hint = f" {inside} is one." if (inside / MANIFEST).is_file() else ""
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}.{hint}")
    text = path.read_bytes()
    manifest = read_manifest(text, name=str(path))
    present = {item.relative_to(folder).as_posix() for item in folder.rglob("*") if not item.is_dir()} - {MANIFEST}
    missing, unlisted = set(manifest.files) - present, present - set(manifest.files)
    if missing or unlisted:
        faults = [f"{name} is missing" for name in sorted(missing)]
        faults += [f"{name} is not listed in the manifest" for name in sorted(unlisted)]
        raise BundleError(f"{folder} is not intact: {'; '.join(faults)}.")
    bundle = Bundle(folder=folder, manifest=manifest, digest=hashlib.sha256(text).hexdigest())
    for name in manifest.files:
        bundle.read(name)
    return bundle


def read_manifest(text: bytes, *, name: str) -> BundleManifest:
    """A manifest from its bytes, for who has no folder. Nothing else of the bundle is verified.

    Args:
        text: content of ``bundle.json``.
        name: of where it comes from, for errors.
    Raises:
        BundleError: not a manifest, or of another schema version.
    """
    try:
        data = json.loads(text)
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{name} is not a bundle manifest: {error}.") from error
    if version != SCHEMA_VERSION:
        raise BundleError(f"{name} has schema version {version!r}; this release reads {SCHEMA_VERSION}.")
    try:
        manifest = _converter.structure(data, BundleManifest)
    except Exception as error:
        raise BundleError(f"{name}: {'; '.join(cattrs.transform_error(error))}.") from error
    unsafe = [name for name in manifest.files if Path(name).is_absolute() or ".." in Path(name).parts]
    if unsafe:
        raise BundleError(f"{name} names files outside its folder: {', '.join(unsafe)}.")
    return manifest

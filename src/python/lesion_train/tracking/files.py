"""The files of a run at MLflow: settings, split, predictions, report, bundle, and a description of the model.

    model/MLmodel              the description: signature and example, as MLflow's tools show them
    model/input_example.json
    model/bundle/              the bundle

A registered version is ``model/``. Its description has no flavour, since that would name a loader, which MLflow calls;
our models are bundles, whose loading executes nothing, and a bundle takes no file that its manifest does not list.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema
from PIL import Image

from lesion_core.bundle import REGISTERED_FOLDER, BundleManifest, load_bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.taxonomy import ISIC_2019
from lesion_train.record import RunRecord

MODEL = "model"
FILES_TAG = "lesion.files_digest"
EXAMPLE = "input_example.json"
DRAWN = ISIC_2019.trained_codes[0]  # what the example shows; its diagnosis does not matter


def send_files(client: MlflowClient, run_id: str, record: RunRecord) -> int:
    """Send what the server does not have yet; returns how many files that were.

    A tag, set when all have arrived, holds a digest of them. Where it is another, all are sent again. Where it fits, or
    where there is none yet, files are compared by size: what got lost at the server is sent again, and a large bundle
    is not sent twice after a crash.
    """
    files = _files_of(record)
    lines = [f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in sorted(files.items())]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    known = client.get_run(run_id).data.tags.get(FILES_TAG)
    sizes = _sizes_at_server(client, run_id, "") if known in (None, digest) else {}
    missing = {name: path for name, path in files.items() if sizes.get(name) != path.stat().st_size}
    for name, path in missing.items():
        folder = name.rpartition("/")[0]
        client.log_artifact(run_id, str(path), folder or None)
    sent = len(missing)
    is_described = known == digest and {f"{MODEL}/MLmodel", f"{MODEL}/{EXAMPLE}"} <= sizes.keys()
    if record.bundle.is_dir() and not is_described:
        sent += _send_description(client, run_id, load_bundle(record.bundle).manifest)
    if known != digest:
        client.set_tag(run_id, FILES_TAG, digest)
    return sent


def signature_of(manifest: BundleManifest) -> ModelSignature:
    """One encoded image in; the probability of every class, with *none of the above*, out."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([ColSpec(DataType.double, code) for code in manifest.taxonomy.codes]),
    )


def _files_of(record: RunRecord) -> dict[str, Path]:
    found = [path for path in (record.config, record.split, record.taxonomy, record.ensemble) if path.is_file()]
    for folder in (record.report, record.predictions):
        found += sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(record.folder).as_posix(): path for path in found}
    bundle = sorted(path for path in record.bundle.rglob("*") if path.is_file())
    return files | {
        f"{MODEL}/{REGISTERED_FOLDER}/{path.relative_to(record.bundle).as_posix()}": path for path in bundle
    }


def _sizes_at_server(client: MlflowClient, run_id: str, folder: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for item in client.list_artifacts(run_id, folder or None):
        sizes |= _sizes_at_server(client, run_id, item.path) if item.is_dir else {item.path: item.file_size or 0}
    return sizes


def _send_description(client: MlflowClient, run_id: str, manifest: BundleManifest) -> int:
    """``model/MLmodel`` with the signature, and an example: a drawn image, of nobody."""
    buffer = io.BytesIO()
    Image.fromarray(draw_lesion(DRAWN, seed=0)).save(buffer, format="JPEG")
    model = Model(
        artifact_path=MODEL,
        run_id=run_id,
        flavors={},
        signature=signature_of(manifest),
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "json_object", "serving_input_path": None},
        model_uuid=None,
        metadata={"bundle": REGISTERED_FOLDER, "research_use_only": True},
    )
    with tempfile.TemporaryDirectory(prefix="lesion-mlmodel-") as scratch:
        folder = Path(scratch)
        model.save(str(folder / "MLmodel"))
        example = {"image": base64.b64encode(buffer.getvalue()).decode()}
        (folder / EXAMPLE).write_text(json.dumps(example))
        client.log_artifacts(run_id, scratch, MODEL)
    return 2

"""``lesion-train export``: a bundle with its network in ONNX as well."""

from __future__ import annotations

from pathlib import Path

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_train.options import AtLeastOne
from lesion_train.threads import ALL_CORES, prepare_threads


def export(bundle: Path, *, data: Path, out: Path, split: Path | None = None, threads: AtLeastOne = ALL_CORES) -> None:
    """Make a bundle that also holds its network as model.onnx, for a bundle that was made without.

    Example: lesion-train export .lesion/runs/RUN/bundle --data ISIC_2019 --out with-onnx

    The export is run on the whole validation part of the bundle's own split and kept only if every logit is within 1e-3
    of torch's and every image gets the same class. The bundle itself is not changed.

    Parameters
    ----------
    bundle
        Folder of the bundle.
    data
        The data set that it was trained on.
    out
        Folder of the new bundle; must not exist yet.
    split
        Frozen split of its run (split.csv), where it does not lie beside the bundle's folder, as it does in its run's.
    threads
        That calculate; one for each core that this program may use if not given.
    """
    prepare_threads(threads)
    from lesion_core.bundle import ONNX, OnnxParity, load_bundle, write_bundle
    from lesion_core.datasets import require_folder

    if out.exists():
        raise LesionError(f"{out} exists already. A bundle is never changed: choose another folder with --out.")
    loaded = load_bundle(bundle)
    require_folder(data)
    import tempfile

    import attrs
    import numpy as np
    import torch

    from lesion_core.decision.metadata import encode_metadata
    from lesion_core.splits import VALIDATION
    from lesion_plugins.classifier import classifier_from_bundle
    from lesion_plugins.registry import BackboneRegistry
    from lesion_train.evaluation.choice import choose_images, read_dataset_of
    from lesion_train.export import export_checked
    from lesion_train.inference import run_network
    from lesion_train.squares import SquareCache

    configure_logging(as_json=False)
    torch.set_num_threads(threads)
    spec = loaded.manifest.preprocess
    records = choose_images(loaded, read_dataset_of(loaded, data), split=split, part=VALIDATION).records
    model = classifier_from_bundle(loaded, BackboneRegistry.load())
    with tempfile.TemporaryDirectory(prefix="lesion-squares-") as scratch:
        squares = SquareCache(Path(scratch), records, threads=threads).squares(records, spec)
        told, sites = None, loaded.manifest.metadata_sites
        if sites is not None:
            metadata = encode_metadata(records, sites).astype(np.float32)
            told = metadata, run_network(model, squares, spec, metadata, shown="validation part, metadata").logits
        plain = run_network(model, squares, spec, shown="validation part").logits
        found = export_checked(model, squares, plain, spec, told=told)
    if found is None or found.data is None:
        raise LesionError("The network has no ONNX that answers as it does; the lines above say why.", code="onnx")
    files = {name: loaded.read(name) for name in loaded.manifest.files}
    made = write_bundle(out, attrs.evolve(loaded.manifest, onnx_parity=found.parity), {**files, ONNX: found.data})
    parity = found.parity
    print(
        f"On {parity.images:,} images: logits within {parity.max_logit_gap:.1e} (limit {OnnxParity.LARGEST_GAP:g}), "
        f"{parity.disagreements} other classes"
    )
    print(f"One image, {threads} threads: torch {found.torch_ms:.1f} ms, ONNX Runtime {found.onnx_ms:.1f} ms")
    print(f"Bundle: {made.folder}\n  digest {made.digest}")

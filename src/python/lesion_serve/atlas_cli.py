"""``lesion-serve atlas``: reference images beside which the app shows an image that was asked about."""

from __future__ import annotations

import json
import sys

from cyclopts import App
from cyclopts.types import ExistingDirectory, ExistingFile

from lesion_core.workspace import Workspace
from lesion_serve.options import CHAMPION, AsJson, AtLeastOne

atlas = App(name="atlas", help="Labelled reference images, which the app shows beside an image that is like them.")


@atlas.command
def build(
    source: str = CHAMPION,
    *,
    data: ExistingDirectory,
    taxonomy: ExistingFile | None = None,
    images_per_class: AtLeastOne = 100,
    threads: AtLeastOne = 1,
    tracking_uri: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Build the atlas of a model from labelled images on this machine. A running gateway finds it by itself.

    Example: lesion-serve atlas build models:/skin-lesion@champion --data data

    Mind the licence of the images: whoever may use the app sees thumbnails of them. Build from images that the model
    was trained on, or from others; never from a test part that is still to be measured.

    Parameters
    ----------
    source
        A .mar file, a bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION.
    data
        Labelled images, in any layout that lesion-train reads.
    taxonomy
        Of the data, where the folder has diagnoses of your own.
    images_per_class
        At most so many, one of each lesion.
    threads
        Of the network.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_core.datasets import read_dataset
    from lesion_core.taxonomy_file import read_taxonomy
    from lesion_plugins.registry import BackboneRegistry
    from lesion_serve.atlas import AtlasError, Atlases
    from lesion_serve.atlas_build import build_atlas
    from lesion_serve.predictor import Predictor
    from lesion_serve.source import find_bundle

    workspace = Workspace.default()
    dataset = read_dataset(data, None if taxonomy is None else read_taxonomy(taxonomy))
    bundle, version = find_bundle(source, workspace=workspace, tracking_uri=tracking_uri)
    known = {one.code for one in bundle.manifest.taxonomy.diagnoses}
    if strange := sorted(set(dataset.class_counts) - known):
        raise AtlasError(
            f"The images have diagnoses that the model does not know: {', '.join(strange)}. It knows "
            f"{', '.join(sorted(known))}.",
            code="no_images",
        )
    predictor = Predictor(bundle, BackboneRegistry.load(), version=version, threads=threads)

    def show(done: int, of: int) -> None:
        if done % 100 == 0 or done == of:
            print(f"{done} of {of} images", file=sys.stderr)

    built, problems = build_atlas(predictor, dataset, images_per_class=images_per_class, on_image=show)
    path = Atlases(workspace.atlases).path_of(bundle.digest)
    built.save(path)
    for problem in problems:
        print(f"Left out: {problem}", file=sys.stderr)
    if as_json:
        told = {"path": str(path), "images": len(built), "left_out": len(problems), "agreement": built.agreement}
        print(json.dumps(told))
    else:
        print(f"{path}: {len(built)} images of {built.source}.")
        print(f"Of each image's nearest others, {built.agreement:.0%} have its diagnosis (mean over the classes).")

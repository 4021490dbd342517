"""
Write a bill of materials of every deliverable in dist/, and a report on licences. No network, no package::

    ./pants package ::
    python3.11 build-support/supply/sbom.py dist

``dist/sbom/NAME.cdx.json`` is CycloneDX 1.6; ``dist/sbom/licences.md`` lists every part once, first those whose terms
are not plainly Apache's, MIT's or BSD's. The same deliverables give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contents import NOT_STATED, Deliverable, Part, deliverables

_NAMESPACE = uuid.UUID("9d3f1d2e-5f0c-5c0b-9a57-6c6573696f6e")
_PERMISSIVE = re.compile(
    r"Apache[- ](?:Software )?(?:License,? ?)?(?:Version )?(?:2(?:\.0)?)?|\bMIT(?:[- ]CMU)?\b|\bBSD\b|0BSD|\bISC\b|Zlib"
    r"|Python Software Foundation|PSF-2\.0|Unlicense|HPND|CC0-1\.0|BSL-1\.0|Public Domain|CNRI-Python",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"\b(?:and|or|with|the|license[ds]?|licence|software|clause|simplified|new|modified|llvm|exception)\b|[\W\d]+", re.I
)


def bill_of(deliverable: Deliverable) -> dict[str, Any]:
    """A CycloneDX document."""
    whole, parts = deliverable.part, deliverable.parts
    references = {part.name: part.reference for part in (whole, *parts)}
    within: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        if part.within is not None:
            within[part.within].append(part.reference)
    edges = []
    for part in (whole, *parts):
        needs = {references[name] for name in part.needs if name in references} | set(within[part.name])
        edges.append({"ref": part.reference, "dependsOn": sorted(needs - {part.reference})})
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(whole)},
        "components": [_component(part) for part in sorted(parts, key=lambda part: part.reference)],
        "dependencies": sorted(edges, key=lambda edge: str(edge["ref"])),
    }
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))}"}


def _component(part: Part) -> dict[str, Any]:
    group, _, artefact = part.name.rpartition("/") if part.ecosystem == "maven" else ("", "", part.name)
    described: dict[str, Any] = {"type": part.kind, "bom-ref": part.reference, "name": artefact}
    if group:
        described["group"] = group
    if part.version is not None:
        described["version"] = part.version
    if part.sha256 is not None:
        described["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    if part.is_expression:
        described["licenses"] = [{"expression": part.licence}]
    elif part.licence != NOT_STATED:
        described["licenses"] = [{"license": {"name": part.licence}}]
    if part.ecosystem != "generic":
        described["purl"] = part.url
    return described


def is_permissive(licence: str) -> bool:
    """Whether nothing but Apache's, MIT's, BSD's and like terms is named."""
    named, left = _PERMISSIVE.search(licence), _WORDS.sub("", _PERMISSIVE.sub("", licence))
    return named is not None and not left


def licence_report(made: Iterable[Deliverable]) -> str:
    """Every part once, with the deliverables that carry it."""
    carriers: dict[Part, set[str]] = defaultdict(set)
    for deliverable in made:
        for part in deliverable.parts:
            carriers[part].add(deliverable.path.name)
    rows: dict[bool, list[str]] = {False: [], True: []}
    for part in sorted(carriers, key=lambda part: (part.ecosystem, part.name)):
        cells = (part.name, part.version or NOT_STATED, part.licence, ", ".join(sorted(carriers[part])))
        rows[is_permissive(part.licence)].append(f"| {' | '.join(cells)} |")
    head = "| part | version | licence, in its own words | in |\n| --- | --- | --- | --- |\n"
    return (
        "# Licences of what the deliverables hold\n\n"
        f"## To look at: {len(rows[False])} parts with other terms than Apache's, MIT's or BSD's, or none stated\n\n"
        + head
        + "\n".join(rows[False])
        + f"\n\n## Apache, MIT, BSD and the like: {len(rows[True])}\n\n"
        + head
        + "\n".join(rows[True])
        + "\n"
    )


def main() -> None:
    """Write all of it."""
    parser = argparse.ArgumentParser(description="Write bills of materials (CycloneDX 1.6) and a report on licences.")
    parser.add_argument("dist", type=Path, help="folder that './pants package ::' filled")
    parser.add_argument("--out", type=Path, help="folder for what is written; sbom in DIST by default")
    arguments = parser.parse_args()
    made = deliverables(arguments.dist)
    if not made:
        sys.exit(f"There is no deliverable in {arguments.dist}: './pants package ::' makes them.")
    out: Path = arguments.out or arguments.dist / "sbom"
    out.mkdir(parents=True, exist_ok=True)
    for deliverable in made:
        target = out / f"{deliverable.path.name}.cdx.json"
        target.write_text(json.dumps(bill_of(deliverable), indent=1, ensure_ascii=False) + "\n")
        print(f"{target}: {len(deliverable.parts)} parts")
    (out / "licences.md").write_text(licence_report(made))
    print(out / "licences.md")


if __name__ == "__main__":
    main()

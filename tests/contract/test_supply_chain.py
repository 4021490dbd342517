"""Bills of materials name what is in a deliverable, and waivers need a reason and an end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

SUPPLY = Path.cwd() / "build-support/supply"
NEEDED = "Needed.One>=1; python_version > '3'"
WAIVER = '[[waiver]]\nid = "PYSEC-2026-1"\nreason = "The part that it is in is never called."\nuntil = 2027-01-31\n'


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", _STARTED, str(SUPPLY / program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


# Isolated from everything that is installed: the programs need the standard library only.
_STARTED = (
    "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0]); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return content.getvalue()


def metadata(name: str, version: str, *more: str) -> dict[str, str | bytes]:
    lines = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more, "", "A description: no header.")
    return {f"{name}-{version}.dist-info/METADATA": "\n".join(lines)}


def make_program(path: Path, wheels: Mapping[str, Mapping[str, str | bytes]]) -> None:
    """A pex in the layout that Pants gives ours."""
    (path / ".deps").mkdir(parents=True)
    for name, files in wheels.items():
        (path / ".deps" / name).write_bytes(zipped(files))
    info = {"distributions": dict.fromkeys(wheels, "0" * 64), "build_properties": {"pex_version": "2.1"}}
    (path / "PEX-INFO").write_text(json.dumps(info))


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A program of three wheels, one with a jar, and a wheel of ours."""
    folder = tmp_path / "dist"
    jar = zipped(
        {
            "META-INF/maven/org.made/up/pom.properties": "groupId=org.made\nartifactId=up\nversion=1.2\n",
            "META-INF/io.netty.versions.properties": "netty-buffer.version=4.1.53.Final\nnetty-buffer.x=y\n",
            "org/made/up/A.class": b"",
            "io/netty/buffer/B.class": b"",
            "com/lmax/disruptor/dsl/C.class": b"",
            "META-INF/versions/9/org/slf4j/spi/D.class": b"",
        }
    )
    make_program(
        folder / "serve.pex",
        {
            "Served_By-2.0+cpu.whl": {
                **metadata(
                    "Served_By",
                    "2.0+cpu",
                    "License-Expression: MIT",
                    "Requires-Dist: Needed.One>=1; python_version>'3'",
                ),
                "served/front.jar": jar,
            },
            "needed.one-1.0.whl": metadata("needed.one", "1.0", "Classifier: License :: OSI Approved :: BSD License"),
            "odd-3.whl": metadata("odd", "3", "License: GPLv2", "Requires-Dist: served-by; extra == 'all'"),
        },
    )
    ours = metadata("lesion-serve", "0.1.0", "License-Expression: Apache-2.0", "Requires-Dist: served-by<3,>=2")
    (folder / "lesion_serve-0.1.0-py3-none-any.whl").write_bytes(zipped(ours))
    return folder


def bills(dist: Path) -> dict[str, Any]:
    done = run("sbom.py", dist)
    assert done.returncode == 0, done.stderr
    return {path.name.removesuffix(".cdx.json"): json.loads(path.read_text()) for path in dist.glob("sbom/*.cdx.json")}


def versions(bill: Mapping[str, Any]) -> dict[str, str | None]:
    return {"/".join(filter(None, (one.get("group"), one["name"]))): one.get("version") for one in bill["components"]}


def test_a_bill_names_every_part_of_a_program_and_of_its_jars(dist: Path) -> None:
    """With the version where one is stated, and without where only the packages of classes tell of it."""
    bill = bills(dist)["serve.pex"]

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert versions(bill) == {
        "served-by": "2.0+cpu",
        "needed-one": "1.0",
        "odd": "3",
        "pex": "2.1",
        "served-by/front.jar": "2.0+cpu",
        "org.made/up": "1.2",
        "io.netty/netty-buffer": "4.1.53.Final",
        "com.lmax.disruptor": None,
        "org.slf4j": None,
    }
    licences = {one["name"]: one.get("licenses") for one in bill["components"]}
    assert licences["served-by"] == [{"expression": "MIT"}]
    assert licences["odd"] == [{"license": {"name": "GPLv2"}}]
    assert licences["up"] is None


def test_the_parts_of_a_bill_hang_together(dist: Path) -> None:
    """Each reference is one component's; a requirement of an extra is none, and a jar hangs on its wheel."""
    for bill in bills(dist).values():
        everything = [bill["metadata"]["component"], *bill["components"]]
        names = {one["bom-ref"]: one["name"] for one in everything}
        needs = {names[one["ref"]]: {names[other] for other in one["dependsOn"]} for one in bill["dependencies"]}
        assert len(names) == len(everything) == len(bill["dependencies"])
        assert needs.get("odd", set()) == set()
        assert needs["served-by"] == {"needed-one", "served-by/front.jar"}
        assert needs["served-by/front.jar"] == {"up", "netty-buffer", "com.lmax.disruptor", "org.slf4j"}


def test_a_wheel_has_the_versions_of_the_programs(dist: Path) -> None:
    """Itself it states ranges only."""
    bill = bills(dist)["lesion_serve-0.1.0-py3-none-any.whl"]

    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/lesion-serve@0.1.0"
    assert versions(bill)["served-by"] == "2.0+cpu"
    assert {"needed-one", "served-by/front.jar", "io.netty/netty-buffer"} <= versions(bill).keys()
    assert not {"odd", "pex"} & versions(bill).keys()


def test_bills_are_the_same_when_they_are_written_again(dist: Path) -> None:
    """Without a time or a number by chance."""
    assert bills(dist) == bills(dist)


def test_what_is_not_plainly_permissive_is_reported_first(dist: Path) -> None:
    """Other terms, and none stated."""
    bills(dist)
    look, _, fine = (dist / "sbom/licences.md").read_text().partition("## Apache, MIT")

    assert all(f"| {name} |" in look for name in ("odd", "org.slf4j", "org.made/up"))
    assert all(f"| {name} |" in fine for name in ("served-by", "needed-one"))


def test_without_deliverables_there_is_nothing_to_write(tmp_path: Path) -> None:
    """It says what makes them."""
    done = run("sbom.py", tmp_path)

    assert (done.returncode, "./pants package ::" in done.stderr) == (1, True)


def test_what_torchserve_bundles_is_seen(tmp_path: Path) -> None:
    """Its one jar holds netty and many others, merged."""
    found = distribution("torchserve")
    jars = [file for file in found.files or [] if file.suffix == ".jar"]
    assert jars
    files = {str(file): Path(str(file.locate())).read_bytes() for file in jars}
    described = {f"torchserve-{found.version}.dist-info/METADATA": str(found.read_text("METADATA"))}
    make_program(tmp_path / "serve.pex", {"torchserve.whl": {**described, **files}})

    seen = versions(bills(tmp_path)["serve.pex"])

    assert {"torchserve", "io.grpc", "com.google.protobuf", "org.apache.logging"} <= seen.keys()
    assert str(seen["io.netty/netty-codec-http"]).startswith("4.1.")


def waived(path: Path, text: str, today: str = "2026-11-26") -> subprocess.CompletedProcess[str]:
    (path / "waivers.toml").write_text(text)
    return run("waivers.py", path / "waivers.toml", "--today", today)


def test_the_waivers_of_this_repository_hold() -> None:
    """Each has an id, a reason and a day that has not come."""
    done = run("waivers.py")

    assert (done.returncode, done.stderr) == (0, "")


def test_waivers_become_options_of_the_audit(tmp_path: Path) -> None:
    """One each."""
    done = waived(tmp_path, WAIVER + WAIVER.replace("2026-1", "2026-2"))

    assert done.stdout.split() == ["--ignore-vuln", "PYSEC-2026-1", "--ignore-vuln", "PYSEC-2026-2"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("until = 2027-01-31", "", "the day on which it ends"),
        ("2027-01-31", '"soon"', "the day on which it ends"),
        ("2027-01-31", "2026-11-25", "it ended on 2026-11-25"),
        ("2027-01-31", "2028-01-31", "at most"),
        ('reason = "The part that it is in is never called."', "", "its reason"),
        ("The part that it is in is never called.", "later", "its reason"),
        ('id = "PYSEC-2026-1"', "", "it has no id"),
        ("until", "by", "'by' is unknown"),
    ],
)
def test_a_waiver_without_reason_or_end_is_an_error(old: str, new: str, told: str, tmp_path: Path) -> None:
    """So is one that has ended, or would last too long; nothing is waived then."""
    done = waived(tmp_path, WAIVER.replace(old, new))

    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr

"""What a deliverable holds, read out of the deliverable itself: wheels, pex files, archives of models, jars."""

from __future__ import annotations

import email.message
import email.parser
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NOT_STATED = "not stated"
_JAVA_DOMAINS = ("com", "io", "javax", "net", "org")
# One library each, in spite of the packages below.
_JAVA_LIBRARIES = (
    "io.grpc",
    "org.testng",
    "org.hamcrest",
    "org.slf4j",
    "org.checkerframework",
    "io.netty",
    "org.junit",
)


@dataclass(frozen=True)
class Part:
    """Something that somebody made. ``needs`` are names of other parts; ``within`` is the one that carries it."""

    kind: str  # as CycloneDX names types of components
    ecosystem: str  # of a package URL: pypi, maven, generic
    name: str
    version: str | None
    licence: str = NOT_STATED
    is_expression: bool = False
    needs: tuple[str, ...] = ()
    sha256: str | None = None
    within: str | None = None

    @property
    def url(self) -> str:
        """Package URL."""
        version = "" if self.version is None else f"@{self.version.replace('+', '%2B')}"
        return f"pkg:{self.ecosystem}/{self.name}{version}"

    @property
    def reference(self) -> str:
        """Its name within a bill of materials; several jars may hold the same library."""
        return self.url if self.within is None else f"{self.url}#{self.within}"


@dataclass(frozen=True)
class Deliverable:
    """A file of dist/ and its parts."""

    path: Path
    part: Part
    parts: tuple[Part, ...]


def deliverables(dist: Path) -> list[Deliverable]:
    """All that ``./pants package ::`` made."""
    programs = [_program(path) for path in sorted(dist.rglob("*.pex"))]
    known = {part.name: part for program in programs for part in program.parts if part.ecosystem == "pypi"}
    wheels = [_wheel(path) for path in sorted(dist.glob("*.whl"))]
    known |= {wheel.part.name: wheel.part for wheel in wheels}
    archives = [_archive(path) for path in sorted(dist.rglob("*.mar"))]
    carried = {part.reference: part for program in programs for part in program.parts if part.within is not None}
    return [*programs, *(_resolved(wheel, known, carried.values()) for wheel in wheels), *archives]


def normal(name: str) -> str:
    """A project's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _program(path: Path) -> Deliverable:
    """A pex, as one file or, in Pants' layout "packed", as a folder of zipped wheels."""
    if path.is_dir():
        info = json.loads((path / "PEX-INFO").read_text())
        wheels = [(path / ".deps" / name).read_bytes() for name in sorted(info["distributions"])]
        parts = [part for wheel in wheels for part in _installed(zipfile.ZipFile(io.BytesIO(wheel)), "")]
    else:
        packed = zipfile.ZipFile(path)
        info = json.loads(packed.read("PEX-INFO"))
        parts = [part for name in sorted(info["distributions"]) for part in _installed(packed, f".deps/{name}/")]
    launcher = Part("application", "pypi", "pex", info["build_properties"]["pex_version"], "Apache-2.0", True)
    needs = tuple(part.name for part in parts if part.ecosystem == "pypi")
    whole = Part("application", "generic", path.stem, None, "Apache-2.0", True, needs)
    return Deliverable(path, whole, (*parts, launcher))


def _installed(packed: zipfile.ZipFile, folder: str) -> Iterator[Part]:
    """A distribution and the jars in it."""
    names = [name[len(folder) :] for name in packed.namelist() if name.startswith(folder)]
    (described,) = [name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
    part = _described(packed.read(folder + described))
    yield part
    for name in names:
        if name.endswith(".jar"):
            yield from _jar(name.rpartition("/")[2], packed.read(folder + name), part)


def _wheel(path: Path) -> Deliverable:
    packed = zipfile.ZipFile(path)
    (described,) = [name for name in packed.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
    return Deliverable(path, _described(packed.read(described)), ())


def _resolved(wheel: Deliverable, known: dict[str, Part], carried: Iterable[Part]) -> Deliverable:
    """With what it needs and what that carries, in the versions of the programs: a wheel itself holds ranges only."""
    found: dict[str, Part] = {}
    waiting = list(wheel.part.needs)
    while waiting:
        name = waiting.pop()
        if name in known and name not in found and name != wheel.part.name:
            found[name] = known[name]
            waiting += known[name].needs
    jars = (part for part in carried if part.within is not None and part.within.partition("/")[0] in found)
    return Deliverable(wheel.path, wheel.part, (*(found[name] for name in sorted(found)), *jars))


def _described(text: bytes) -> Part:
    metadata = email.parser.BytesParser().parsebytes(text, headersonly=True)
    licence, is_expression = _licence(metadata)
    return Part(
        kind="library",
        ecosystem="pypi",
        name=normal(str(metadata["Name"])),
        version=str(metadata["Version"]),
        licence=licence,
        is_expression=is_expression,
        needs=tuple(_needs(metadata.get_all("Requires-Dist") or [])),
    )


def _licence(metadata: email.message.Message) -> tuple[str, bool]:
    """In the words of the metadata, and whether they are an SPDX expression."""
    if expression := metadata.get("License-Expression"):
        return str(expression), True
    classifiers = [str(one).split(" :: ") for one in metadata.get_all("Classifier") or []]
    named = [one[-1] for one in classifiers if one[0] == "License" and len(one) > 2]
    if named:
        return " AND ".join(sorted(named)), False
    told = str(metadata.get("License") or "").strip().splitlines()
    return (told[0].strip(), False) if told and told[0].strip() not in ("", "UNKNOWN") else (NOT_STATED, False)


def _needs(requirements: Iterable[str]) -> Iterator[str]:
    """Names of what is needed without an extra being asked for."""
    for requirement in requirements:
        wanted, _, marker = requirement.partition(";")
        if "extra" not in marker:
            yield normal(re.split(r"[^A-Za-z0-9._-]", wanted.strip(), maxsplit=1)[0])


def _jar(name: str, content: bytes, carrier: Part) -> Iterator[Part]:
    """A jar, and the libraries that were merged into it: by pom.properties, by netty's list, else by their packages."""
    packed = zipfile.ZipFile(io.BytesIO(content))
    digest = hashlib.sha256(content).hexdigest()
    within = f"{carrier.name}/{name}"
    yield Part("library", "generic", within, carrier.version, carrier.licence, sha256=digest, within=carrier.name)
    versions = dict(_maven(packed))
    libraries = set(versions)
    stated = {library.partition("/")[0] for library in versions}
    for package in sorted({_package(member) for member in packed.namelist() if member.endswith(".class")} - {""}):
        if not any(package == group or package.startswith(f"{group}.") for group in stated):
            libraries.add(package)
    for library in sorted(libraries):
        # Packages alone do not say which artefact they come from.
        ecosystem = "maven" if library in versions else "generic"
        yield Part("library", ecosystem, library, versions.get(library), within=within)


def _maven(packed: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    for member in packed.namelist():
        if re.fullmatch(r"META-INF/maven/.+/pom\.properties", member):
            told = dict(re.findall(r"^(\w+)=(.*?)\s*$", packed.read(member).decode(), re.MULTILINE))
            yield f"{told['groupId']}/{told['artifactId']}", told["version"]
        if member == "META-INF/io.netty.versions.properties":
            for artefact, version in re.findall(
                r"^([\w-]+)\.version=(\S+)", packed.read(member).decode(), re.MULTILINE
            ):
                yield f"io.netty/{artefact}", version


def _package(member: str) -> str:
    """The part of a class' package that names its maker: org.slf4j, com.google.gson."""
    folders = member.split("/")[:-1]
    if folders[:2] == ["META-INF", "versions"]:
        folders = folders[3:]
    package = ".".join(folders[:3] if folders and folders[0] in _JAVA_DOMAINS else folders[:1])
    return next((known for known in _JAVA_LIBRARIES if f"{package}.".startswith(f"{known}.")), package)


def _archive(path: Path) -> Deliverable:
    """A model: code of ours, and weights."""
    packed = zipfile.ZipFile(path)
    manifest = json.loads(packed.read("bundle/bundle.json"))
    backbone = manifest["backbone"]
    weights = Part(
        "machine-learning-model", "generic", f"{manifest['name']}-weights", None, backbone["weights_license"]
    )
    code = Part("library", "pypi", normal(backbone["plugin"]), backbone["plugin_version"], backbone["code_license"])
    whole = Part("machine-learning-model", "generic", path.stem, None, needs=(weights.name, code.name))
    return Deliverable(path, whole, (weights, code))

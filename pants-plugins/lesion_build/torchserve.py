"""
The target type ``torchserve_archive``: ``pants package`` puts a ``.mar`` into ``dist/``.

The archive itself is made by the target that ``archive`` names, an ``adhoc_tool`` that runs ``lesion-serve archive``.
"""

from dataclasses import dataclass

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, OutputPathField, PackageFieldSet
from pants.core.target_types import FileSourceField
from pants.core.util_rules.source_files import SourceFiles, SourceFilesRequest
from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import Digest, RemovePrefix
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import COMMON_TARGET_FIELDS, SourcesField, SpecialCasedDependencies, Target, Targets
from pants.engine.unions import UnionRule


class ArchiveField(SpecialCasedDependencies):
    """Where the file comes from."""

    alias = "archive"
    required = True
    help = "Addresses of the targets that make the .mar files, for example of an adhoc_tool."


class TorchServeArchive(Target):
    """A ``.mar`` as a deliverable."""

    alias = "torchserve_archive"
    core_fields = (*COMMON_TARGET_FIELDS, OutputPathField, ArchiveField)
    help = "A TorchServe archive; `pants package` puts it into dist/."


@dataclass(frozen=True)
class TorchServeArchiveFieldSet(PackageFieldSet):
    """What is needed to package one."""

    required_fields = (ArchiveField,)

    archive: ArchiveField


@rule(desc="Package a TorchServe archive")
async def package_archive(field_set: TorchServeArchiveFieldSet) -> BuiltPackage:
    """Make the archive and put it at the top of dist/."""
    inputs = field_set.archive.to_unparsed_address_inputs()
    makers = await Get(Targets, Addresses, await Get(Addresses, UnparsedAddressInputs, inputs))
    made = await Get(
        SourceFiles,
        SourceFilesRequest(
            [target.get(SourcesField) for target in makers],
            for_sources_types=(FileSourceField,),
            enable_codegen=True,
        ),
    )
    folder = field_set.address.spec_path
    digest = await Get(Digest, RemovePrefix(made.snapshot.digest, folder)) if folder else made.snapshot.digest
    names = [file[len(folder) :].lstrip("/") for file in made.files]
    return BuiltPackage(digest, tuple(BuiltPackageArtifact(name) for name in names))


def rules():
    """Return the rules for Pants."""
    return [*collect_rules(), UnionRule(PackageFieldSet, TorchServeArchiveFieldSet)]


def target_types():
    """Return the new words for BUILD files."""
    return [TorchServeArchive]

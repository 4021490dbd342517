"""
Ruff as formatter and linter; the backend that Pants 2.17 ships predates both commands.

``pants fmt`` runs ``ruff format``, ``pants lint`` runs ``ruff check`` (and, by itself, the formatter's check),
``pants fix`` runs ``ruff check --fix``. The subsystem ``[ruff]`` is the shipped one.
"""

from dataclasses import dataclass
from typing import Any

from pants.backend.python.lint.ruff import skip_field, subsystem
from pants.backend.python.lint.ruff.subsystem import Ruff, RuffFieldSet
from pants.backend.python.util_rules import pex
from pants.backend.python.util_rules.pex import PexRequest, VenvPex, VenvPexProcess
from pants.core.goals.fix import FixResult, FixTargetsRequest
from pants.core.goals.fmt import FmtResult, FmtTargetsRequest
from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.config_files import ConfigFiles, ConfigFilesRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.core.util_rules.source_files import SourceFiles, SourceFilesRequest
from pants.engine.fs import Digest, MergeDigests, Snapshot
from pants.engine.process import FallibleProcessResult
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.meta import classproperty


class RuffFormatRequest(FmtTargetsRequest):
    """``pants fmt``, and its check in ``pants lint``."""

    field_set_type = RuffFieldSet
    tool_subsystem = Ruff
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION

    @classproperty
    def tool_name(cls) -> str:
        """Name in Pants' summary."""
        return "ruff format"


class RuffFixRequest(FixTargetsRequest):
    """``pants fix``."""

    field_set_type = RuffFieldSet
    tool_subsystem = Ruff
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION

    @classproperty
    def tool_name(cls) -> str:
        """Name in Pants' summary."""
        return "ruff check --fix"


class RuffCheckRequest(LintTargetsRequest):
    """``pants lint``."""

    field_set_type = RuffFieldSet
    tool_subsystem = Ruff
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION

    @classproperty
    def tool_name(cls) -> str:
        """Name in Pants' summary."""
        return "ruff check"


@dataclass(frozen=True)
class RuffRun:
    """One run of ruff over some files."""

    command: tuple[str, ...]
    files: Snapshot


@rule
async def run_ruff(request: RuffRun, ruff: Ruff) -> FallibleProcessResult:
    """Run ruff beside its settings; what it rewrites comes back as output."""
    tool, config = await MultiGet(
        Get(VenvPex, PexRequest, ruff.to_pex_request()),
        Get(ConfigFiles, ConfigFilesRequest, ruff.config_request(request.files.dirs)),
    )
    inputs = await Get(Digest, MergeDigests((request.files.digest, config.snapshot.digest)))
    return await Get(
        FallibleProcessResult,
        VenvPexProcess(
            tool,
            # No cache folder of its own: Pants caches, and the sandbox is thrown away.
            argv=(*request.command, "--no-cache", "--quiet", *ruff.args, *request.files.files),
            input_digest=inputs,
            output_files=request.files.files,
            description=f"Run ruff {' '.join(request.command)} on {len(request.files.files)} files",
        ),
    )


@rule(desc="Format with ruff")
async def ruff_format(request: RuffFormatRequest.Batch) -> FmtResult:
    """Format files."""
    result = await Get(FallibleProcessResult, RuffRun(("format",), request.snapshot))
    return await FmtResult.create(request, result, strip_chroot_path=True)


@rule(desc="Fix with ruff")
async def ruff_fix(request: RuffFixRequest.Batch) -> FixResult:
    """Mend what ruff can mend; what it cannot is left to ``pants lint``."""
    result = await Get(FallibleProcessResult, RuffRun(("check", "--fix", "--exit-zero"), request.snapshot))
    return await FixResult.create(request, result, strip_chroot_path=True)


@rule(desc="Lint with ruff")
async def ruff_check(request: RuffCheckRequest.Batch[RuffFieldSet, Any]) -> LintResult:
    """Report what is wrong."""
    sources = await Get(SourceFiles, SourceFilesRequest(field_set.source for field_set in request.elements))
    result = await Get(FallibleProcessResult, RuffRun(("check", "--output-format=concise"), sources.snapshot))
    return LintResult.create(request, result, strip_chroot_path=True)


def rules():
    """Return the rules for Pants."""
    return [
        *collect_rules(),
        *RuffFormatRequest.rules(),
        *RuffFixRequest.rules(),
        *RuffCheckRequest.rules(),
        *pex.rules(),
        *skip_field.rules(),
        *subsystem.rules(),
    ]

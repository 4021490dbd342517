"""
The words of our BUILD files.

Two macros state the architecture: `lesion_package` (who may import whom) and `third_party` (who may use which
requirement). Pants checks them on every edge: `./pants dependencies ::` exits 1 on a forbidden one and names it, and so
do `check` and `test` of the target (`lint` does not). The others save repetition.
"""

# Where code may see everything: programs and tests that put the packages together. What tests in other folders see is
# for `lesion_tests` to say.
_WHOLE = ("//:*", "//tests/integration/**", "//tests/browser/**", "//tests/contract/**", "//benchmarks/**")
EVERYTHING = ("lesion_core", "lesion_plugins", "lesion_train", "lesion_serve", "lesion_ui", "lesion_demo")
_TESTS = ("//tests/**", "//benchmarks/**")


def _in(packages):
    """Where the code of packages (`lesion_core`) or of one module (`lesion_serve/registry.py`) lies."""
    return [f"//src/python/{p}" if p.endswith(".py") else f"//src/python/{p}/**" for p in packages]


def lesion_package(may_use=(), used_by=(), needs_at_run_time=()):
    """State the rules of the package in this folder, in both directions, and collect its modules.

    `may_use`: the packages of ours that it may import. `used_by`: the packages that may import it. Its own tests and
    the tests that put packages together may always import it; examples/ is a stranger's and no part of this.
    `needs_at_run_time`: what its modules need beside what they import.
    """
    package = build_file_dir().name
    __dependencies_rules__(("*", "/**", *_in([*may_use, f"{package}.dist-info"]), "//3rdparty/**", "!*"))
    users = ["/**", *_in(used_by), *_WHOLE, f"//tests/unit/{package}/**"]
    # The tests of the packages that use it, and the shared helpers of tests.
    users += [f"//tests/unit/{user}/**" for user in used_by]
    users += ["//tests/golden/**", "//tests/faults/**", "//tests/fuzz/**", "//tests/support/**"]
    __dependents_rules__(("*", *users, "!*"))
    python_sources(sources=["**/*.py"], dependencies=list(needs_at_run_time))
    resources(name="data", sources=["py.typed", "**/*.json", "**/*.css", "**/*.toml", "**/*.j2"])


def lesion_distribution(description, scripts=None, plugins=None, extras=None):
    """Make the wheel of the package in this folder: `name:dist`. Its version is the package's `__version__`.

    `scripts`: console scripts by name. `plugins`: entry points of the group `lesion` by name. `extras`: optional
    requirements by the name of their extra.
    """
    entry_points = {}
    if scripts:
        entry_points["console_scripts"] = scripts
    if plugins:
        entry_points["lesion"] = plugins
    python_distribution(
        name="dist",
        # The wheel has metadata of its own, so the folder that stands in for it in the source tree stays out.
        dependencies=[":data", f":{build_file_dir().name}", "!!src/python/lesion_plugins.dist-info"],
        provides=python_artifact(description=description, **({"extras_require": extras} if extras else {})),
        entry_points=entry_points,
        long_description_path=f"{build_file_dir()}/README.md",
        sdist=False,
        # The time stamp of every file in the wheel, so that two builds are byte for byte the same.
        env_vars=["SOURCE_DATE_EPOCH=315532800"],
    )


def lesion_door(name, module="cli.py", dependencies=(), **kwargs):
    """Make a program of the package in this folder: `./pants run src/python/<package>:<name>`."""
    pex_binary(
        name=name,
        entry_point=f"{module}:main",
        dependencies=[":data", *dependencies],
        # Installs itself into an environment on its first start, so later starts cost nothing extra.
        execution_mode="venv",
        # One file per wheel in a folder: packing torch into a single zip takes minutes, and unpacking it again.
        layout="packed",
        **kwargs,
    )


def lesion_tests(uses, timeout=None, batch=None, test_dependencies=(), apart=(), **kwargs):
    """Collect the tests of this folder, and state which packages they may put together.

    `uses`: the packages of ours that these tests may import. `batch`: tests of one name share processes, so that torch
    is imported once, not once a file. `timeout`: seconds for one file. `apart`: files that have a target of their own.
    """
    shared = ["//tests/*", "//tests/unit/*", "//tests/support/**", "//examples/**", "//:*"]
    __dependencies_rules__(("*", "/**", *_in(uses), *_in(["lesion_plugins.dist-info"]), *shared, "//3rdparty/**", "!*"))
    python_tests(
        sources=["**/test_*.py", *(f"!{file}" for file in apart)],
        timeout=timeout,
        batch_compatibility_tag=batch,
        dependencies=list(test_dependencies),
        **kwargs,
    )
    python_test_utils(name="helpers", sources=["**/conftest.py", "**/*.py", "!**/test_*.py"])


def third_party(groups, module_mapping):
    """Make the requirement targets of `<group>.in` files, each with the packages or modules that may use it.

    `groups`: for each group a list as in `lesion_package`, or `"all"`. Tests may use every group.
    """
    rules = []
    for group, users in groups.items():
        python_requirements(name=group, source=f"{group}.in", module_mapping=module_mapping)
        allowed = ["*"] if users == "all" else [*_in(users), *_TESTS, "//:*", "/**", "!*"]
        rules.append(({"name": group}, *allowed))
    __dependents_rules__(*rules, ("*", "*"))

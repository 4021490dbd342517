"""The documentation of the hooks, and of how to write a backbone, is compared with the code."""

import importlib
import inspect
import re
import runpy
from pathlib import Path

from lesion_plugins.conformance import CHECKS
from lesion_plugins.hookspecs import PLUGIN_API_VERSION
from lesion_plugins.plugin_loading import new_plugin_manager
from lesion_plugins.registry import BackboneRegistry

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples/lesion-backbone-plainnet"


def _hook_signatures():
    """``name(arguments) -> result`` of every hook that the plugin manager knows."""
    hooks = {name: caller for name, caller in vars(new_plugin_manager().hook).items() if caller.has_spec()}
    return {f"{name}{inspect.signature(hook.spec.function)}".replace("'", "") for name, hook in hooks.items()}


def test_the_documentation_holds_every_hook_signature_and_no_other():
    """A hook that is added, changed or removed has to be documented."""

    text = (DOCS / "plugin-hooks.md").read_text()

    documented = set(re.findall(r"^def (lesion_.*): \.\.\.$", text, flags=re.MULTILINE))
    assert _hook_signatures() == documented


def test_the_documentation_states_the_plugin_api_version():
    """The page says which version it describes."""

    assert f"describes plugin API {PLUGIN_API_VERSION};" in (DOCS / "plugin-hooks.md").read_text()


def test_every_hook_says_since_when_it_exists():
    """Documented as in the hook's own docstring."""

    for caller in vars(new_plugin_manager().hook).values():
        assert ".. versionadded::" in str(inspect.getdoc(caller.spec.function))


def test_the_code_of_the_guide_is_that_of_the_example():
    """Every block stands in one of its files, line by line."""

    files = "\n".join(path.read_text() for path in sorted(EXAMPLE.rglob("*")) if path.suffix in {".py", ".toml"})
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", (DOCS / "write-a-backbone.md").read_text(), flags=re.DOTALL)

    assert len(blocks) == 5
    assert [block for block in blocks if block not in files] == []


def test_the_guide_lists_the_checks_of_the_kit():
    """Those and no others."""

    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "write-a-backbone.md").read_text(), flags=re.MULTILINE)

    assert listed == list(CHECKS)


def test_the_example_passes_its_own_three_line_test(monkeypatch):
    """All checks, that of ONNX included."""

    monkeypatch.syspath_prepend(str(EXAMPLE))
    plugin = importlib.import_module("plainnet.plugin")
    three_lines = runpy.run_path(str(EXAMPLE / "tests/test_plainnet.py"))["test_backbone_keeps_the_contract"]

    (mark,) = three_lines.pytestmark
    for param in mark.args[1]:
        three_lines(*param.values)

    registry = BackboneRegistry.load(plugins=[plugin])
    assert registry.rejected == ()
    assert registry.names() == ("plainnet",)

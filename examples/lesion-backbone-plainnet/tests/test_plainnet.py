"""The whole test of a backbone."""

from plainnet.plugin import lesion_register_backbones

from lesion_plugins.conformance import parametrize_with_checks


@parametrize_with_checks(lesion_register_backbones())
def test_backbone_keeps_the_contract(spec, check):
    """Everything that its spec says is true."""
    check(spec)

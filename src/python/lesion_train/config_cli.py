"""The commands of ``lesion-train config``, and the options of a run, which ``fit`` takes too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, Parameter

from lesion_train.config import TrainConfig
from lesion_train.config_file import FIELDS, TYPES, ResolvedConfig, plain, resolve_config
from lesion_train.options import AsJson
from lesion_train.threads import prepare_threads

REQUIRED_ORIGIN = "required"

config = App(name="config", help="Look at the settings of a run.")


class _NotGiven:
    """Default of every option, to tell what was given from what equals the default."""


_NOT_GIVEN = _NotGiven()


def _show(default: object) -> Callable[[object], str]:
    return lambda _: str(plain(default))


def _make_options() -> type[Any]:
    """A class with the fields and the help of ``TrainConfig``, none of them required."""
    members: dict[str, Any] = {}
    for name, field in FIELDS.items():
        has_default = field.default is not attrs.NOTHING and field.default is not None
        shown = Parameter(show_default=_show(field.default) if has_default else False)
        kind = None | TYPES[name] if field.default is None else TYPES[name]  # in this order, 'none' is None first
        hint: Any = Annotated[kind, shown]
        members[name] = attrs.field(type=hint, default=_NOT_GIVEN)
    made = attrs.make_class("TrainOptions", members, frozen=True, kw_only=True)
    made.__doc__ = TrainConfig.__doc__
    return made


if TYPE_CHECKING:
    from lesion_train.record import RunRecord

    TrainOptions = attrs.AttrsInstance
else:
    TrainOptions = _make_options()

Options = Annotated[TrainOptions | None, Parameter(name="*")]
ConfigFile = Annotated[
    Path | None, Parameter(help="TOML file of settings, such as those in configs/; options win over it.")
]


def resolve_options(file: Path | None, options: attrs.AttrsInstance | None) -> ResolvedConfig:
    """What the command line asks for, and where each setting came from.

    Raises:
        ConfigError: lists everything that is wrong with the settings.
    """
    given = attrs.asdict(options, recurse=False) if options is not None else {}
    return resolve_config(file, {name: value for name, value in given.items() if value is not _NOT_GIVEN})


def resolve_resumed(record: RunRecord, file: Path | None, options: attrs.AttrsInstance | None) -> ResolvedConfig:
    """What a run goes on with: its own settings where no file gives others, its own split and taxonomy in any case.

    Raises:
        ConfigError: as ``resolve_options``.
    """
    found = resolve_options(file or record.config, options)
    own: dict[str, object] = {"split": record.split, "fold": None}
    if record.taxonomy.is_file():
        own["taxonomy"] = record.taxonomy
    return ResolvedConfig({**found.values, **own}, {**found.origins, **dict.fromkeys(own, str(record.folder))})


def prepare_training(settings: TrainConfig) -> None:
    """Set the threads and look for the data: before torch is imported, which reads the former and takes seconds.

    Raises:
        DatasetError: there is no folder ``data``.
    """
    prepare_threads(settings.threads)
    from lesion_core.datasets import require_folder

    require_folder(settings.data)


@config.command
def show(
    options: Options = None,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings that 'lesion-train fit' would take from the same options, each with its origin.

    Example: lesion-train config show --config configs/smoke.toml --epochs 1

    The origin is an option, the file, 'default', or the name of the backbone that decides; 'required' has to be given.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    from lesion_plugins.registry import BackboneRegistry

    resolved = resolve_options(config, options)
    backbone = BackboneRegistry.load().get(str(resolved.values["backbone"]))
    resolved = resolved.with_backbone_defaults(backbone)
    rows = {
        name: {"value": plain(resolved.values.get(name)), "origin": resolved.origins.get(name, REQUIRED_ORIGIN)}
        for name in FIELDS
    }
    print(json.dumps(rows, indent=2) if as_json else _table(rows))


def _table(rows: dict[str, dict[str, Any]]) -> str:
    words = {None: "-", True: "true", False: "false"}
    shown = {
        name: words[value] if value is None or isinstance(value, bool) else str(value)
        for name, value in ((name, row["value"]) for name, row in rows.items())
    }
    name_width, value_width = max(map(len, shown)), max(map(len, shown.values()))
    return "\n".join(
        f"{name:{name_width}}  {value:{value_width}}  {rows[name]['origin']}" for name, value in shown.items()
    )

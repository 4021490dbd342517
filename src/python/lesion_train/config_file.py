"""The settings of a run from a TOML file and the command line, each with where it came from.

    # configs/mine.toml
    backbone = "convnext_atto"
    pretrained = "hub"
    epochs = 20

Keys are the fields of ``TrainConfig``, in any order. The command line wins over the file, the file over the defaults.
A relative path is relative to the current folder, in a file as on the command line.
"""

from __future__ import annotations

import difflib
import json
import sys
import tomllib
import typing
from collections.abc import Mapping
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any

import attrs
import cattrs

from lesion_core.errors import LesionError
from lesion_plugins.backbone import BackboneSpec
from lesion_train.config import TrainConfig, conflicts, with_backbone_defaults

DEFAULT = "default"

FIELDS: dict[str, attrs.Attribute[Any]] = {field.name: field for field in attrs.fields(TrainConfig)}
TYPES: dict[str, Any] = typing.get_type_hints(TrainConfig)
REQUIRED = [name for name, field in FIELDS.items() if field.default is attrs.NOTHING]


class ConfigError(LesionError):
    """Settings that cannot be used; ``problems`` lists all that was found, one line each."""

    code = "bad_config"

    def __init__(self, problems: tuple[str, ...]) -> None:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with the settings:\n{listed}")
        self.problems = problems


@attrs.frozen
class ResolvedConfig:
    """Every setting that has a value, in the order of ``TrainConfig``, and where each came from.

    Attributes:
        values: by field; a required one that was not given is missing.
        origins: by field: ``default``, the path of a file, or the option.
    """

    values: dict[str, object]
    origins: dict[str, str]

    def config(self) -> TrainConfig:
        """The settings as one object.

        Raises:
            ConfigError: lists what is missing and what does not go together.
        """
        missing = [name for name in REQUIRED if name not in self.values]
        _require_none(
            *(f"{name} is missing: give {option_of(name)}, or the key '{name}' in the file" for name in missing),
            *conflicts(self.values),
        )
        return TrainConfig(**self.values)  # type: ignore[arg-type]  # each was structured as its field's type

    def with_backbone_defaults(self, backbone: BackboneSpec) -> ResolvedConfig:
        """With all that the backbone decides; its origin is then the backbone's name.

        Raises:
            ConfigError: lists what does not go together.
            InputSizeError: the backbone does not take images of ``input_size_px``.
        """
        _require_none(*conflicts(self.values))
        stand_in: dict[str, Any] = {**dict.fromkeys(REQUIRED, Path()), **self.values}
        made = with_backbone_defaults(TrainConfig(**stand_in), backbone)
        values = {name: getattr(made, name) for name in self.values}
        changed = {name: backbone.name for name in values if values[name] != self.values[name]}
        return ResolvedConfig(values, {**self.origins, **changed})


def resolve_config(file: Path | None, options: Mapping[str, object]) -> ResolvedConfig:
    """Defaults, then the file, then the options.

    Args:
        file: TOML file of settings.
        options: what the command line gave, by field.
    Raises:
        ConfigError: lists every setting that is wrong by itself, each with file and key or with option, the value and
            what is possible; an unknown key with the closest known one.
    """
    problems: list[str] = []
    given = [(key, value, str(file)) for key, value in (_read_toml(file) if file else {}).items()]
    given += [(key, value, option_of(key, value)) for key, value in options.items()]
    values = {name: field.default for name, field in FIELDS.items() if name not in REQUIRED}
    origins = dict.fromkeys(values, DEFAULT)
    for key, value, origin in given:
        if key not in FIELDS:
            problems.append(f"{origin}: {_unknown_key(key, value)}")
            continue
        try:
            values[key], origins[key] = _checked(key, value), origin
        except ValueError as error:
            where = origin if origin.startswith("--") else f"{origin}: {key}"
            problems.append(f"{where} = {_shown(value)}: {error}")
    _require_none(*problems)
    return ResolvedConfig({name: values[name] for name in FIELDS if name in values}, origins)


def option_of(name: str, value: object = None) -> str:
    """Option of a field: ``input_size_px`` → ``--input-size-px``, a false ``crop_border`` → ``--no-crop-border``."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def without_paths(config: TrainConfig) -> dict[str, object]:
    """The settings as plain values for a record, of paths the last name only: a full one may name a person."""
    paths = {name for name in FIELDS if isinstance(getattr(config, name), Path)} | {"pretrained"}
    return {
        name: Path(value).name if name in paths else value for name, value in _converter.unstructure(config).items()
    }


def to_toml(config: TrainConfig) -> str:
    """The settings as a TOML file that ``resolve_config`` reads, without the data and the folders of other paths."""
    lines = [
        "# Repeat this run: lesion-train fit --config config.toml --data DIR",
        "# Paths are kept by name only, since a full one may name a person: start in their folder, or give the option.",
    ]
    kept = {key: value for key, value in without_paths(config).items() if key != "data" and value is not None}
    return "\n".join([*lines, *(f"{key} = {_toml(value)}" for key, value in kept.items()), ""])


def plain(value: object) -> Any:
    """A setting as JSON and TOML know it."""
    return _converter.unstructure(value)


def _require_none(*problems: str) -> None:
    if problems:
        raise ConfigError(problems)


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # also of numbers too long to read, and of deep nesting
        raise ConfigError((f"{path} is not a TOML file of settings ({error})",)) from error


def _checked(name: str, value: object) -> object:
    """The value as its field's type, in range.

    Raises:
        ValueError: says what is possible, without the name and the value.
    """
    field = FIELDS[name]
    made = _converter.structure(value, TYPES[name])
    if field.validator is not None:
        try:
            field.validator(None, field, made)
        except ValueError as error:  # "'epochs' must be >= 1: 0"
            text = str(error.args[0]).removeprefix(f"'{name}' ")
            raise ValueError(text.removesuffix(f": {made}").removesuffix(f" (got {made!r})")) from error
    return made


def _unknown_key(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return f"[{key}] is a section. Settings have none: write its keys ({', '.join(value)}) without it"
    closest = difflib.get_close_matches(key.lower().replace("-", "_"), FIELDS, n=1)
    return f"no key named {key!r}. " + (f"Did you mean {closest[0]!r}?" if closest else f"Known: {', '.join(FIELDS)}")


def _shown(value: object) -> str:
    try:
        return json.dumps(plain(value), ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists …
        return "…"


def _toml(value: Any) -> str:
    """A plain value in TOML's notation, which differs from JSON's in DEL and in numbers that are none."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make_converter() -> cattrs.Converter:
    """A converter that never turns one kind of value into another: neither "12" nor 2.5 is a whole number."""
    converter = cattrs.Converter(detailed_validation=False)

    def exactly(kind: type[Any], word: str, accepted: tuple[type[Any], ...]) -> None:
        def structure(value: Any, _: object) -> Any:
            if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
                raise ValueError(f"must be {word}")
            if kind is int and value.bit_length() > 63:
                raise ValueError("must be a whole number of 64 bits, as TOML has them")
            if kind is float and not abs(value) <= sys.float_info.max:  # infinite, no number, or a whole one too large
                raise ValueError("must be a finite number")
            return kind(value)

        converter.register_structure_hook(kind, structure)

    exactly(bool, "true or false", (bool,))
    exactly(int, "a whole number", (int,))
    exactly(float, "a number", (int, float))
    exactly(str, "text", (str,))
    exactly(Path, "a path, as text", (str, Path))

    def structure_choice(value: Any, kind: Any) -> Any:
        possible = [member.value for member in kind]
        if value not in possible:
            closest = difflib.get_close_matches(str(value), possible, n=1)
            hint = f". Did you mean {closest[0]!r}?" if closest else ""
            raise ValueError(f"must be one of {', '.join(possible)}{hint}")
        return kind(value)

    for kind in (Enum, IntEnum, StrEnum):  # the last two are numbers and texts besides, whose hooks come first
        converter.register_structure_hook(kind, structure_choice)
    converter.register_unstructure_hook(Path, str)
    return converter


_converter = _make_converter()

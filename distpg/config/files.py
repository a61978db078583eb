"""Where a configuration comes from besides the command line: presets and files."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from distpg.config.option_types import OPTIONS_HELP, likely_option, option_name
from distpg.config.train_config import TrainConfig
from distpg.errors import ConfigError

# Options take a few KiB. More is another file, given by mistake.
_MAX_BYTES = 2**20

# By name, where a run starts from before its options.
PRESETS: dict[str, dict[str, Any]] = {
    # Made for it alone: longer steps than other environments bear.
    "cartpole": {"lr": 0.02, "max_kl": None, "normalise_observations": "none", "sampler": "gymnasium"},
    # The article's experiment; --baseline episode is its second method. Its loss is summed over the steps of
    # its 4 episodes, ours is also divided by 4. Adam's step m / (sqrt(v) + eps) is the same with gradients
    # and eps divided by 4, to the last bit, since dividing by 4 is exact.
    "article": {
        "baseline": "none",
        "normalise_advantages": "none",
        "lr": 0.01,
        "adam_eps": 1e-8 / 4,
        "max_kl": None,
        "normalise_observations": "none",
        "sampler": "gymnasium",
        "stop_return": 450.0,
    },
}


# What runs did before these options were there: a run's own file has all that there were.
BEFORE_THERE_WERE = {"normalise_observations": "none", "action_mask": "none", "max_kl": None}


def in_present_terms(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as an earlier version may have written them, as this one writes them."""
    return {**values, "env_reuse": "episode"} if values.get("env_reuse") == "task" else dict(values)


def preset(name: object) -> TrainConfig:
    """The configuration of that name (ConfigError: there is none)."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"--preset cannot be {name!r}", f"It takes {' or '.join(PRESETS)}.")
    return TrainConfig(**PRESETS[name])


def config_from_mapping(values: Mapping[str, Any], base: TrainConfig | None, source: str) -> TrainConfig:
    """``base`` with the values of a config file over it; None: the file's own preset, or the defaults.

    Keys may be spelled with ``_`` or ``-``.

    Raises:
        ConfigError: A key is unknown, or a value is wrong.
    """
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in changes:
            raise ConfigError(f"{source}: {option_name(name)} stands there twice", "Leave one of them out.")
        # Dates and sets are YAML's own; values of Python come from Python alone.
        if not _is_plain(value):
            raise ConfigError(f"{source}: {option_name(name)} cannot be {value!r}", "Write it as JSON would.")
        changes[name] = value
    named = changes.pop("preset", None)
    if base is None:
        base = TrainConfig() if named is None else preset(named)
    known = [option.name for option in fields(TrainConfig)]
    for name in changes:
        if name not in known:
            likely = likely_option(name, known)
            hint = f"Did you mean {likely}?" if likely else OPTIONS_HELP
            raise ConfigError(f"{source}: there is no option {name!r}", hint)
    try:
        return replace(base, **in_present_terms(changes))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.message}", error.hint) from error


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def load_config_file(path: str | Path, base: TrainConfig | None = None) -> TrainConfig:
    """``base`` with the options of a YAML file, or of a run's config.json, over it.

    Raises:
        ConfigError: The file is missing, malformed, or holds what is no option.
    """
    import yaml

    try:
        with Path(path).open("rb") as file:  # which may be a pipe or a device, and so may never end
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES // 1024} KiB")
        # Nearly all JSON is YAML, so this reads a run's config.json too.
        values = yaml.load(content.decode("utf-8"), _loader())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}", "Check the path given to --config.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {line}", "Write one `option: value` a line.") from error
    if not isinstance(values, (dict, type(None))):
        raise ConfigError(f"{path} holds no options", "Write one `option: value` a line.")
    values = values or {}
    if Path(path).name == "config.json" and "audit_every" in values:
        values = BEFORE_THERE_WERE | values
    return config_from_mapping(values, base, str(path))


def _loader() -> Any:
    """A class that reads YAML's plain data, as people mean it, and nothing else."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Builds no objects, takes no key twice, and no alias: one can stand for gigabytes, or for itself."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=self.get_mark())
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key!r} stands there twice", problem_mark=node.value[number][0].start_mark
                    )
            return super().construct_mapping(node, deep)

    # YAML 1.1 takes 1e-3 for text, for want of a point; everybody else takes it for a number.
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return Loader

"""From a recipe and named changes to the settings of an experiment."""

from collections.abc import Mapping
from typing import Any

from jaxreid import config
from jaxreid.data.datasets import catalogue

Changes = dict[str, Any]  # 'section.field' -> value


def dataset(name: str) -> Changes:
    """What every system has in common on a data set."""
    facts = catalogue.find(name)
    return {'data.dataset': name, 'test.protocols': (facts.protocol,)} | (
        {'data.num_ids': facts.num_ids} if facts.num_ids else {}
    )


def experiment(file: str, *layers: Changes, variants: Mapping[str, Changes], variant: str) -> config.Experiment:
    """Settings of a variant.

    Args:
      file: stem of the config file, for messages.
      layers: recipe, data set, size; later ones win.
      variants: those of the file.
      variant: a name from `variants`, or several with commas between; later ones win.

    Raises:
      ConfigError: no such variant; names the nearest.
    """
    made = config.Experiment()
    for changes in layers:
        apply(made, changes)
    for name in variant.split(','):
        if name not in variants:
            raise config.ConfigError(
                f'configs/{file}.py has no variant {name!r}.{config.nearest(name, variants)}'
                ' (several are written with commas between)'
            )
        apply(made, variants[name])
    if made.data.part == 'validation' and not catalogue.find(made.data.dataset).own_validation:
        made.data.num_ids -= made.data.num_ids // 5  # held out: 125 of MARS' 625
    return made


def apply(made: config.Experiment, changes: Changes) -> None:
    """Sets fields in place.

    Raises:
      ConfigError: no such field; names the nearest.
    """
    for path, value in changes.items():
        section, _, field = path.rpartition('.')
        node = getattr(made, section, None) if section else made
        if not hasattr(node, field):
            raise config.unknown_field(path)
        setattr(node, field, value)

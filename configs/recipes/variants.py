"""From a recipe and named changes to the settings of an experiment."""

from collections.abc import Mapping
from typing import Any

from jaxreid import config

Changes = dict[str, Any]  # 'section.field' -> value

# Published training identities, and the rule that the papers score a data set by.
NUM_IDS = {'mars': 625, 'dukev': 702, 'ilids': 150, 'prid': 89, 'lsvid': 842, 'synthetic': 160}
PROTOCOL = {
    'mars': 'mars-paper',
    'dukev': 'dukev',
    'ilids': 'ilids',
    'prid': 'prid',
    'lsvid': 'lsvid',
    'synthetic': 'mars-paper',
    'manifest': 'mars-paper',
}


def dataset(name: str) -> Changes:
    """What every system has in common on a data set."""
    num_ids = {'data.num_ids': NUM_IDS[name]} if name in NUM_IDS else {}  # how many a manifest has only it can say
    return {'data.dataset': name, 'test.protocols': (PROTOCOL[name],)} | num_ids


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
    if made.data.part == 'validation' and made.data.dataset != 'lsvid':  # which has validation ids of its own
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

"""From a recipe and named changes to the settings of an experiment."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jaxreid import config
from jaxreid.data.datasets import catalogue

Changes = dict[str, Any]  # 'section.field' -> value
Getter = Callable[..., config.Experiment]  # of a variant; without an argument, of the first


class Recipe(Protocol):
    """What a module of this folder says of a system."""

    __name__: str
    RECIPE: Changes  # on every data set
    DATASETS: dict[str, Changes]  # data set -> what is other there
    SMALL: Changes  # what is other in small on the rendered benchmark
    VARIANTS: dict[str, Changes]  # table row -> changed settings; the first is the default
    ADAPTED: dict[str, Changes]  # in small, instead of the rows of that name, which name what the small network lacks


def dataset(name: str) -> Changes:
    """What every system has in common on a data set."""
    facts = catalogue.find(name)
    return {'data.dataset': name, 'test.protocols': (facts.protocol, *facts.more_protocols)} | (
        {'data.num_ids': facts.num_ids} if facts.num_ids else {}
    )


def rows_of(recipe: Recipe, dataset_name: str) -> tuple[dict[str, Changes], Getter]:
    """VARIANTS and `get_config` of `configs/<system>_<data set>.py`: the rows of a recipe on a data set."""
    layers = recipe.RECIPE, dataset(dataset_name), recipe.DATASETS.get(dataset_name, {})
    return recipe.VARIANTS, getter(f'{stem(recipe)}_{dataset_name}', *layers, variants=recipe.VARIANTS)


def stem(recipe: Recipe) -> str:
    """'strf' of the module `configs.recipes.strf`."""
    return recipe.__name__.rpartition('.')[2]


def getter(file: str, *layers: Changes, variants: Mapping[str, Changes]) -> Getter:
    """The `get_config` of a file from layers (recipe, data set, size), of which later ones win, and variants, the first
    by default.

    It gives settings by the name of a variant, or several with commas between, of which later ones win, and raises
    ConfigError where there is no such variant, naming the nearest; `file` is the config file's stem, for that message.
    """

    def get_config(variant: str = next(iter(variants))) -> config.Experiment:
        made = config.Experiment()
        for changes in layers:
            config.apply(made, changes)
        for name in variant.split(','):
            if name not in variants:
                raise config.ConfigError(
                    f'configs/{file}.py has no variant {name!r}.{config.nearest(name, variants)}'
                    ' (several are written with commas between)'
                )
            config.apply(made, variants[name])
        if made.data.part == 'validation' and not catalogue.find(made.data.dataset).own_validation:
            made.data.num_ids -= made.data.num_ids // 5  # held out: 125 of MARS' 625
        return made

    return get_config

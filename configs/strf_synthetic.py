"""STRF (ICCV 2021) in small on the rendered benchmark: what `python -m jaxreid.main` runs.

python -m jaxreid.main
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from configs.recipes import small, strf, variants
from jaxreid import config

VARIANTS = small.rows(strf.VARIANTS, strf.ADAPTED) | {'p3dc': strf.OFF}


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant, or of several with commas between ('table2_p3da,tiny'); see VARIANTS."""
    layers = strf.RECIPE, variants.dataset('synthetic'), small.SMALL, strf.SMALL
    return variants.experiment('strf_synthetic', *layers, variants=VARIANTS, variant=variant)

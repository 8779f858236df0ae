"""STA (AAAI 2019) in small on the rendered benchmark.

python -m jaxreid.main --config configs/sta_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from configs.recipes import small, sta, variants
from jaxreid import config

VARIANTS = small.rows(sta.VARIANTS, sta.ADAPTED)


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant, or of several with commas between ('table1_tl,tiny'); see VARIANTS."""
    layers = sta.RECIPE, variants.dataset('synthetic'), small.SMALL, sta.SMALL
    return variants.experiment('sta_synthetic', *layers, variants=VARIANTS, variant=variant)

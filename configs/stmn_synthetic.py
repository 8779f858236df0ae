"""STMN (ICCV 2021) in small on the rendered benchmark.

python -m jaxreid.main --config configs/stmn_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from configs.recipes import small, stmn, variants
from jaxreid import config

VARIANTS = small.rows(stmn.VARIANTS, stmn.ADAPTED)


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant, or of several with commas between ('table1_sm_no_spread,tiny'); see VARIANTS."""
    layers = stmn.RECIPE, variants.dataset('synthetic'), small.SMALL, stmn.SMALL
    return variants.experiment('stmn_synthetic', *layers, variants=VARIANTS, variant=variant)

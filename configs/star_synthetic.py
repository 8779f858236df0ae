"""STAR (BMVC 2019) in small on the rendered benchmark.

python -m jaxreid.main --config configs/star_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from configs.recipes import small, star, variants
from jaxreid import config

VARIANTS = small.rows(star.VARIANTS, star.ADAPTED)


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant, or of several with commas between ('table3_cbam,tiny'); see VARIANTS."""
    layers = star.RECIPE, variants.dataset('synthetic'), small.SMALL, star.SMALL
    return variants.experiment('star_synthetic', *layers, variants=VARIANTS, variant=variant)

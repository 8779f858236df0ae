"""AP3D (ECCV 2020) in small on the rendered benchmark.

python -m jaxreid.main --config configs/ap3d_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from configs.recipes import ap3d, small, variants
from jaxreid import config

VARIANTS = small.rows(ap3d.VARIANTS, ap3d.ADAPTED)


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant, or of several with commas between ('ap3d_i3d,tiny'); see VARIANTS."""
    layers = ap3d.RECIPE, variants.dataset('synthetic'), small.SMALL, ap3d.SMALL
    return variants.experiment('ap3d_synthetic', *layers, variants=VARIANTS, variant=variant)

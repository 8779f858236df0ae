"""AP3D (ECCV 2020) on MARS: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_mars.py --config.data.root=/path/to/MARS
Paper: mAP 85.1, rank-1 90.1 (`ap3d_nl`: 85.6, 90.7). Ours: not run yet.
"""

from configs.recipes import ap3d, variants
from jaxreid import config

VARIANTS = ap3d.VARIANTS


def get_config(variant: str = 'ap3d') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = ap3d.RECIPE, variants.dataset('mars'), ap3d.DATASETS['mars']
    return variants.experiment('ap3d_mars', *layers, variants=VARIANTS, variant=variant)

"""AP3D (ECCV 2020) on iLIDS-VID: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper, `ap3d_nl`: rank-1 88.7. Ours: not run yet.
"""

from configs.recipes import ap3d, variants
from jaxreid import config

VARIANTS = ap3d.VARIANTS


def get_config(variant: str = 'ap3d') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = ap3d.RECIPE, variants.dataset('ilids'), ap3d.DATASETS['ilids']
    return variants.experiment('ap3d_ilids', *layers, variants=VARIANTS, variant=variant)

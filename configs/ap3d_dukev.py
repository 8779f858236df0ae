"""AP3D (ECCV 2020) on DukeMTMC-VideoReID: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, `ap3d_nl`: mAP 96.1, rank-1 97.2. Ours: not run yet.
"""

from configs.recipes import ap3d, variants
from jaxreid import config

VARIANTS = ap3d.VARIANTS


def get_config(variant: str = 'ap3d') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = ap3d.RECIPE, variants.dataset('dukev'), ap3d.DATASETS['dukev']
    return variants.experiment('ap3d_dukev', *layers, variants=VARIANTS, variant=variant)

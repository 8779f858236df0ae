"""STAR (BMVC 2019) on DukeMTMC-VideoReID: Tables 2 and 3.

python -m jaxreid.main --config configs/star_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 3, last row: rank-1 94.0, mAP 93.4. Ours: not run yet.
"""

from configs.recipes import star, variants
from jaxreid import config

VARIANTS = star.VARIANTS


def get_config(variant: str = 'table3_full') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = star.RECIPE, variants.dataset('dukev'), star.DATASETS['dukev']
    return variants.experiment('star_dukev', *layers, variants=VARIANTS, variant=variant)

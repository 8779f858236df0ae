"""STAR (BMVC 2019) on iLIDS-VID: Tables 1 and 3, Figures 4 to 7.

python -m jaxreid.main --config configs/star_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper, Table 3, last row, mean of ten splits: rank-1 85.9. Ours: not run yet.
"""

from configs.recipes import star, variants
from jaxreid import config

VARIANTS = star.VARIANTS


def get_config(variant: str = 'table3_full') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = star.RECIPE, variants.dataset('ilids'), star.DATASETS['ilids']
    return variants.experiment('star_ilids', *layers, variants=VARIANTS, variant=variant)

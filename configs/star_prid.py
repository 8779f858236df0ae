"""STAR (BMVC 2019) on PRID-2011: Tables 1 and 3, Figures 4 to 7.

python -m jaxreid.main --config configs/star_prid.py --config.data.root=/path/to/prid_2011 [--config.data.split=0]
Paper, Table 3, last row, mean of ten splits: rank-1 93.4. Ours: not run yet.
"""

from configs.recipes import star, variants
from jaxreid import config

VARIANTS = star.VARIANTS


def get_config(variant: str = 'table3_full') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = star.RECIPE, variants.dataset('prid'), star.DATASETS['prid']
    return variants.experiment('star_prid', *layers, variants=VARIANTS, variant=variant)

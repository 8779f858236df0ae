"""STRF (ICCV 2021) on iLIDS-VID: Table 3.

python -m jaxreid.main --config configs/strf_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper: rank-1 89.3, the row not named. Ours: not run yet.
"""

from configs.recipes import strf, variants
from jaxreid import config

VARIANTS = strf.VARIANTS


def get_config(variant: str = 'table2_p3dc') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = strf.RECIPE, variants.dataset('ilids'), strf.DATASETS['ilids']
    return variants.experiment('strf_ilids', *layers, variants=VARIANTS, variant=variant)

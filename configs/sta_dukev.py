"""STA (AAAI 2019) on DukeMTMC-VideoReID: Tables 1 to 3.

python -m jaxreid.main --config configs/sta_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 1, last row: rank-1 96.2, mAP 94.9. Ours: not run yet.
"""

from configs.recipes import sta, variants
from jaxreid import config

VARIANTS = sta.VARIANTS


def get_config(variant: str = 'table1_full') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    layers = sta.RECIPE, variants.dataset('dukev'), sta.DATASETS['dukev']
    return variants.experiment('sta_dukev', *layers, variants=VARIANTS, variant=variant)

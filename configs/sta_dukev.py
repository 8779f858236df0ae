"""STA (AAAI 2019) on DukeMTMC-VideoReID: Tables 1 to 3.

python -m jaxreid.main --config configs/sta_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 1, last row: rank-1 96.2, mAP 94.9. Ours: not run yet.
"""

from .recipes import sta, variants

VARIANTS, get_config = variants.rows_of(sta, 'dukev')

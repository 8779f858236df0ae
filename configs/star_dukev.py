"""STAR (BMVC 2019) on DukeMTMC-VideoReID: Tables 2 and 3.

python -m jaxreid.main --config configs/star_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 3, last row: rank-1 94.0, mAP 93.4. Ours: not run yet.
"""

from .recipes import star, variants

VARIANTS, get_config = variants.rows_of(star, 'dukev')

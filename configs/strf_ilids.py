"""STRF (ICCV 2021) on iLIDS-VID: Table 3.

python -m jaxreid.main --config configs/strf_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper: rank-1 89.3, the row not named. Ours: not run yet.
"""

from .recipes import strf, variants

VARIANTS, get_config = variants.rows_of(strf, 'ilids')

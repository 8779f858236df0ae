"""STAR (BMVC 2019) on iLIDS-VID: Tables 1 and 3, Figures 4 to 7.

python -m jaxreid.main --config configs/star_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper, Table 3, last row, mean of ten splits: rank-1 85.9. Ours: not run yet.
"""

from .recipes import star, variants

VARIANTS, get_config = variants.rows_of(star, 'ilids')

"""STAR (BMVC 2019) on PRID-2011: Tables 1 and 3, Figures 4 to 7.

python -m jaxreid.main --config configs/star_prid.py --config.data.root=/path/to/prid_2011 [--config.data.split=0]
Paper, Table 3, last row, mean of ten splits: rank-1 93.4. Ours: not run yet.
"""

from .recipes import star, variants

VARIANTS, get_config = variants.rows_of(star, 'prid')

"""STAR (BMVC 2019) on MARS: Tables 2 and 3.

python -m jaxreid.main --config configs/star_mars.py --config.data.root=/path/to/MARS
Paper, Table 3, last row: rank-1 85.4, mAP 76.0. Ours: not run yet.
"""

from .recipes import star, variants

VARIANTS, get_config = variants.rows_of(star, 'mars')

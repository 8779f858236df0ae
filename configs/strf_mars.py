"""STRF (ICCV 2021) on MARS: Tables 2, 4, 5, Figure 4 and 6a, supplement.

python -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS
Paper, Table 2, row P3D-C + STRF: mAP 86.1, rank-1 90.3. Ours: not run yet.
"""

from .recipes import strf, variants

VARIANTS, get_config = variants.rows_of(strf, 'mars')

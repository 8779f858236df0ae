"""STA (AAAI 2019) on MARS: Tables 1 to 4.

python -m jaxreid.main --config configs/sta_mars.py --config.data.root=/path/to/MARS
Paper, Table 1, last row: rank-1 86.3, mAP 80.8. Ours: not run yet.
"""

from .recipes import sta, variants

VARIANTS, get_config = variants.rows_of(sta, 'mars')

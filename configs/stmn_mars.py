"""STMN (ICCV 2021) on MARS: Tables 1 and 2, section 4.1 and 4.2.

python -m jaxreid.main --config configs/stmn_mars.py --config.data.root=/path/to/MARS
Paper, Table 1, row 7: rank-1 89.9, mAP 83.7; all frames (`table2_all_frames`): 90.5, 84.5. Ours: not run yet.
"""

from .recipes import stmn, variants

VARIANTS, get_config = variants.rows_of(stmn, 'mars')

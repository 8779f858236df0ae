"""STMN (ICCV 2021) on LS-VID: Tables 1 and 2.

python -m jaxreid.main --config configs/stmn_lsvid.py --config.data.root=/path/to/LS-VID
Paper, Table 1, row 7: rank-1 80.6, mAP 66.6; all frames (`table2_all_frames`): 82.1, 69.2. Ours: not run yet.
"""

from .recipes import stmn, variants

VARIANTS, get_config = variants.rows_of(stmn, 'lsvid')

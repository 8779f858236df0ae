"""STMN (ICCV 2021) on DukeMTMC-VideoReID: Tables 1 and 2.

python -m jaxreid.main --config configs/stmn_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 1, row 7: rank-1 96.7, mAP 94.6; all frames (`table2_all_frames`): 97.0, 95.9. Ours: not run yet.
"""

from .recipes import stmn, variants

VARIANTS, get_config = variants.rows_of(stmn, 'dukev')

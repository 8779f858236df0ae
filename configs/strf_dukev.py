"""STRF (ICCV 2021) on DukeMTMC-VideoReID: Table 2.

python -m jaxreid.main --config configs/strf_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, Table 2, row P3D-C + STRF: mAP 96.2, rank-1 97.2 (row P3D-B + STRF: 96.4, 97.4). Ours: not run yet.
"""

from .recipes import strf, variants

VARIANTS, get_config = variants.rows_of(strf, 'dukev')

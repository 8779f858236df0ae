"""SINet (CVPR 2022) on LS-VID: C2D whose later frames look away from what the first ones have shown.

python -m jaxreid.main --config configs/sinet_lsvid.py --config.data.root=/path/to/LS-VID
Paper: mAP 79.6, rank-1 87.4. Ours: not run yet.
"""

from .recipes import sinet, variants

VARIANTS, get_config = variants.rows_of(sinet, 'lsvid')

"""SINet (CVPR 2022) on MARS: C2D whose later frames look away from what the first ones have shown.

python -m jaxreid.main --config configs/sinet_mars.py --config.data.root=/path/to/MARS
Paper: mAP 86.2, rank-1 91.0. Ours: not run yet.
"""

from .recipes import sinet, variants

VARIANTS, get_config = variants.rows_of(sinet, 'mars')

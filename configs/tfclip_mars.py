"""TF-CLIP (AAAI 2024) on MARS: Table 2.

python -m jaxreid.main --config configs/tfclip_mars.py --config.data.root=/path/to/MARS
Paper, Table 2, last row: mAP 89.4, rank-1 93.0. Ours: not run yet.
"""

from .recipes import tfclip, variants

VARIANTS, get_config = variants.rows_of(tfclip, 'mars')

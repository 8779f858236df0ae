"""TF-CLIP (AAAI 2024) on iLIDS-VID.

python -m jaxreid.main --config configs/tfclip_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper, mean of ten splits: rank-1 94.5. Ours: not run yet.
"""

from .recipes import tfclip, variants

VARIANTS, get_config = variants.rows_of(tfclip, 'ilids')

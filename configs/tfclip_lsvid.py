"""TF-CLIP (AAAI 2024) on LS-VID: Table 2.

python -m jaxreid.main --config configs/tfclip_lsvid.py --config.data.root=/path/to/LS-VID
Paper: mAP 83.8, rank-1 90.4. Ours: not run yet.
"""

from .recipes import tfclip, variants

VARIANTS, get_config = variants.rows_of(tfclip, 'lsvid')

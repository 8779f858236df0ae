"""AP3D (ECCV 2020) on iLIDS-VID: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_ilids.py --config.data.root=/path/to/iLIDS-VID [--config.data.split=0]
Paper, `ap3d_nl`: rank-1 88.7. Ours: not run yet.
"""

from .recipes import ap3d, variants

VARIANTS, get_config = variants.rows_of(ap3d, 'ilids')

"""AP3D (ECCV 2020) on MARS: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_mars.py --config.data.root=/path/to/MARS
Paper: mAP 85.1, rank-1 90.1 (`ap3d_nl`: 85.6, 90.7). Ours: not run yet.
"""

from .recipes import ap3d, variants

VARIANTS, get_config = variants.rows_of(ap3d, 'mars')

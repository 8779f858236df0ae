"""AP3D (ECCV 2020) on DukeMTMC-VideoReID: P3D-C with appearance-preserving temporal convolutions.

python -m jaxreid.main --config configs/ap3d_dukev.py --config.data.root=/path/to/DukeMTMC-VideoReID
Paper, `ap3d_nl`: mAP 96.1, rank-1 97.2. Ours: not run yet.
"""

from .recipes import ap3d, variants

VARIANTS, get_config = variants.rows_of(ap3d, 'dukev')

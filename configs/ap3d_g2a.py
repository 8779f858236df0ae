"""AP3D (ECCV 2020) on G2A-VReID, of which its paper has no figures.

python -m jaxreid.main --config configs/ap3d_g2a.py --config.data.root=/path/to/G2A-VReID
Ours: not run yet.
"""

from .recipes import ap3d, variants

VARIANTS, get_config = variants.rows_of(ap3d, 'g2a')

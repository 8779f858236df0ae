"""AP3D (ECCV 2020) on VCCR, of which its paper has no figures.

python -m jaxreid.main --config configs/ap3d_vccr.py --config.data.root=/path/to/VCCR
Ours: not run yet.
"""

from .recipes import ap3d, variants

VARIANTS, get_config = variants.rows_of(ap3d, 'vccr')

"""AP3D (ECCV 2020) in small on the rendered benchmark.

python -m jaxreid.main --config configs/ap3d_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import ap3d, small

VARIANTS, get_config = small.rows_of(ap3d)

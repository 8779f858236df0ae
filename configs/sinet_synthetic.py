"""SINet (CVPR 2022) in small on the rendered benchmark.

python -m jaxreid.main --config configs/sinet_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import sinet, small

VARIANTS, get_config = small.rows_of(sinet)

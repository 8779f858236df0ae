"""STAR (BMVC 2019) in small on the rendered benchmark.

python -m jaxreid.main --config configs/star_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import small, star

VARIANTS, get_config = small.rows_of(star)

"""STRF (ICCV 2021) in small on the rendered benchmark: what `python -m jaxreid.main` runs.

python -m jaxreid.main
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import small, strf

VARIANTS, get_config = small.rows_of(strf)

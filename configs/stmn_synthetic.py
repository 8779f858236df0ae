"""STMN (ICCV 2021) in small on the rendered benchmark.

python -m jaxreid.main --config configs/stmn_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import small, stmn

VARIANTS, get_config = small.rows_of(stmn)

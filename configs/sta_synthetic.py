"""STA (AAAI 2019) in small on the rendered benchmark.

python -m jaxreid.main --config configs/sta_synthetic.py
A network of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import small, sta

VARIANTS, get_config = small.rows_of(sta)

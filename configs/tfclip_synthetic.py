"""TF-CLIP (AAAI 2024) in small on the rendered benchmark.

python -m jaxreid.main --config configs/tfclip_synthetic.py
A ViT of reduced width and depth from random init; its numbers say nothing about any real data set.
"""

from .recipes import small, tfclip

VARIANTS, get_config = small.rows_of(tfclip)

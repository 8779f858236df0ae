"""A trained network goes on with your own people, whom a manifest lists: docs/finetune.md.

python -m jaxreid.main --config configs/finetune_manifest.py --config.data.root=/path/to/own.csv
python -m jaxreid.main --config configs/finetune_manifest.py:stmn --config.data.root=/path/to/own.csv \\
    --config.backbone.weights=/path/to/trained
The variant names the system; with `_small` it has the size of `configs/<system>_synthetic.py`.
Ours: on rendered people only, docs/finetune.md.
"""

from .recipes import finetune, variants

VARIANTS = finetune.VARIANTS
get_config = variants.getter('finetune_manifest', variants.dataset('manifest'), variants=VARIANTS)

"""STRF (ICCV 2021) on own tracklets, which a manifest lists: docs/own_data.md.

python -m jaxreid.main --config configs/strf_manifest.py --config.data.root=/path/to/own.csv
python -m jaxreid.main --config configs/strf_manifest.py:small --config.data.root=/path/to/own.csv
The first starts from ImageNet and wants an accelerator; `small` is for a first look on a CPU, from a random start.
Recipe: STRF's, but for a length and schedule that own data of unknown size can do with (our choice).
Ours: not run yet.
"""

from .recipes import small, strf, variants
from .recipes.variants import Changes

RECIPE: Changes = strf.RECIPE | {
    'sampler.kind': 'tracklet_epoch_distinct',
    'optim.schedule': 'cosine',
    'optim.warmup_epochs': 5.0,
    'train.epochs': 60,
}
VARIANTS: dict[str, Changes] = {
    'own': {},
    'small': small.SMALL | strf.SMALL | {'sampler.num_ids': 4},
    'c2d': {'backbone.block': 'c2d'} | strf.OFF,
}
get_config = variants.getter('strf_manifest', RECIPE, variants.dataset('manifest'), variants=VARIANTS)

"""C2D in small on rendered people of its own: what `--config.backbone.init=rendered` starts from.

python -m jaxreid.main --config configs/c2d_synthetic.py
Training with that start makes this network once, in the cache. The people of preset `people` are in no other preset.
"""

from .recipes import small, strf, variants
from .recipes.variants import Changes

PEOPLE: Changes = {
    'data.preset': 'people',
    'data.num_ids': 200,
    'backbone.block': 'c2d',
    'backbone.frame_pool': 'avg',
    'backbone.init': 'random',
    'train.epochs': 8,
    'train.eval_every_epochs': 0,
    'test.references': False,
}
VARIANTS: dict[str, Changes] = {'people': {}}
LAYERS = strf.RECIPE, variants.dataset('synthetic'), small.SMALL, strf.SMALL, strf.OFF, PEOPLE
get_config = variants.getter('c2d_synthetic', *LAYERS, variants=VARIANTS)

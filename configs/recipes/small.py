"""Networks of reduced width and depth on the rendered benchmark, for two CPU cores: our choices throughout.

Every row of a system is a variant of its `configs/<system>_synthetic.py`, at the size of `demo`; a second name after a
comma changes the size, as in `configs/sta_synthetic.py:table1_sta,tiny`.
"""

from . import variants
from .variants import Changes

SMALL: Changes = {
    'data.height': 64,
    'data.width': 32,
    'data.resize': 'bicubic',
    'backbone.width': 16,
    'backbone.depths': (1, 1, 1, 1),
    'backbone.strides': (1, 2, 1, 1),
    'backbone.init': 'random',
    'augment.erase': 0.0,
    'optim.lr': 1e-3,
    'optim.schedule': 'cosine',
    'optim.warmup_epochs': 1.0,
    'train.checkpoint_every_steps': 200,
}
SIZES: dict[str, Changes] = {
    'demo': {},
    'tiny': {'data.preset': 'tiny', 'data.num_ids': 12, 'train.epochs': 2, 'optim.warmup_epochs': 1.0},
    'gait': {'data.preset': 'gait', 'data.num_ids': 120},
    'occlusion': {'data.preset': 'occlusion', 'data.num_ids': 120},
    'distractors': {'data.preset': 'distractors', 'data.num_ids': 120},
    'misaligned': {'data.preset': 'misaligned', 'data.num_ids': 120},
    # Frames side by side: at every second one the legs are where they were half a cycle ago.
    'motion': {'data.preset': 'motion', 'data.num_ids': 96, 'sampler.stride_frames': 1},
    'outfits': {
        'data.preset': 'outfits',
        'data.num_ids': 80,
        'test.protocols': ('general', 'same-clothes', 'clothes-changing'),
    },
}


def rows_of(recipe: variants.Recipe) -> tuple[dict[str, Changes], variants.Getter]:
    """VARIANTS and `get_config` of `configs/<system>_synthetic.py`: the sizes and a system's rows."""
    layers = recipe.RECIPE, variants.dataset('synthetic'), SMALL, recipe.SMALL
    rows = SIZES | recipe.VARIANTS | recipe.ADAPTED
    return rows, variants.getter(f'{variants.stem(recipe)}_synthetic', *layers, variants=rows)

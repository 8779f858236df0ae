"""AP3D (ECCV 2020), the strongest 3-D baseline that STRF compares with: recipe and rows of its public code."""

from . import strf
from .variants import Changes

RECIPE: Changes = strf.RECIPE | {
    'backbone.block': 'ap3d_c',
    'strf.stages': (),
    'augment.erase': 0.0,
    'optim.decay_epochs': (60, 120, 180),
    'train.epochs': 240,
}
DATASETS = strf.DATASETS
# The cosine of small networks reads no epochs of decay: P3D without units is one training for both systems.
SMALL: Changes = strf.SMALL | {'optim.decay_epochs': strf.RECIPE['optim.decay_epochs']}
NONLOCAL: Changes = {'nonlocal_blocks.stage2': (1, 3), 'nonlocal_blocks.stage3': (1, 3, 5)}

VARIANTS: dict[str, Changes] = {
    'ap3d': {},
    'ap3d_nl': NONLOCAL,
    'ap3d_i3d': {'backbone.block': 'ap3d_i3d'},
    'ap3d_p3da': {'backbone.block': 'ap3d_a'},
    'ap3d_p3db': {'backbone.block': 'ap3d_b'},
    'c2d': {'backbone.block': 'c2d'},
    'c2d_nl': {'backbone.block': 'c2d'} | NONLOCAL,
    'i3d': {'backbone.block': 'i3d'},
    'p3da': {'backbone.block': 'p3da'},
    'p3db': {'backbone.block': 'p3db'},
    'p3dc': {'backbone.block': 'p3dc'},
    'no_contrastive': {'ap3d.contrastive': False},
}
_SMALL_NONLOCAL: Changes = {'nonlocal_blocks.stage2': (0,), 'nonlocal_blocks.stage3': (0,)}
ADAPTED: dict[str, Changes] = {
    'ap3d_nl': _SMALL_NONLOCAL,
    'c2d_nl': {'backbone.block': 'c2d'} | _SMALL_NONLOCAL,
}

"""SINet (CVPR 2022): recipe and rows of its public code, which goes on from AP3D's; every option in jaxreid/config.py.

Its random erasing keeps the place but not the size of the rectangle over a clip; ours keeps both (our choice).
"""

from . import ap3d
from .variants import Changes

RECIPE: Changes = ap3d.RECIPE | {
    'system': 'sinet',
    'backbone.block': 'c2d',
    'sampler.clip': 'rrs',
    'augment.erase': 0.5,
    'augment.erase_scope': 'clip',
    'optim.decay_epochs': (40, 80, 120),
    'train.epochs': 160,
    'test.clips': 'interleaved',
    'test.monitor_clips': 'rrs',
}
DATASETS: dict[str, Changes] = {'mars': {}, 'lsvid': {}}
# One bottleneck a stage, and so one module of either kind.
SMALL: Changes = {'sinet.idm': (0,), 'sinet.sbm': (0,), 'train.epochs': 16, 'train.eval_every_epochs': 4}
NO_SBM: Changes = {'sinet.sbm': (), 'sinet.contrast_weight': 0.0}

VARIANTS: dict[str, Changes] = {
    'sinet': {},
    'sbnet': {'sinet.idm': ()},
    'idnet': NO_SBM,
    'c2d': {'sinet.idm': ()} | NO_SBM,
    'released': {'sinet.stem_padding': False},
}
ADAPTED: dict[str, Changes] = {}

"""Training on one's own people from a network that knows others: our choices throughout, docs/finetune.md.

Every system is there as its paper has it and, with `_small`, in the reduced size of `configs/<system>_synthetic.py`.
Each starts from the default workdir of its training on other people, unless backbone.weights names another network.
"""

from . import ap3d, sinet, small, sta, star, stmn, strf, tfclip
from .variants import Changes

RECIPE: Changes = {
    'backbone.init': 'checkpoint',
    'sampler.kind': 'tracklet_epoch_distinct',
    'sampler.num_ids': 8,
    'optim.schedule': 'cosine',
    'optim.warmup_epochs': 2.0,
    'train.epochs': 30,
    'train.eval_every_epochs': 10,
}
_SYSTEMS = {'strf': strf, 'stmn': stmn, 'sta': sta, 'star': star, 'ap3d': ap3d, 'sinet': sinet, 'tfclip': tfclip}

VARIANTS: dict[str, Changes] = {
    name: system.RECIPE | RECIPE | {'backbone.weights': f'runs/{name}_mars'} for name, system in _SYSTEMS.items()
}
VARIANTS['c2d'] = VARIANTS['strf'] | strf.VARIANTS['c2d'] | {'backbone.weights': 'runs/strf_mars-c2d'}
VARIANTS |= {
    f'{name}_small': system.RECIPE
    | small.SMALL
    | system.SMALL
    | RECIPE
    | {'backbone.weights': f'runs/{name}_synthetic', 'sampler.num_ids': 4}
    for name, system in _SYSTEMS.items()
}
VARIANTS['c2d_small'] = (
    VARIANTS['strf_small']
    | strf.VARIANTS['c2d']
    # As configs/c2d_synthetic.py, the network that it starts from.
    | {'backbone.frame_pool': 'avg', 'backbone.init': 'rendered', 'backbone.weights': ''}
)

"""STRF (ICCV 2021) in small on the rendered benchmark: what `python -m jaxreid.main` runs.

python -m jaxreid.main
A network of reduced width and depth from random init; its numbers say nothing about MARS.
"""

from jaxreid import config

VARIANTS: dict[str, dict] = {
    'demo': {},
    'c2d': {'block': 'c2d', 'strf': ()},
    'p3dc': {'strf': ()},
    'gait': {'preset': 'gait'},
    'tiny': {'preset': 'tiny', 'epochs': 2},
}


def get_config(variant: str = 'demo') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    if variant not in VARIANTS:
        raise config.ConfigError(
            f'configs/strf_synthetic.py has no variant {variant!r}.{config.nearest(variant, VARIANTS)}'
        )
    changed = VARIANTS[variant]
    preset = changed.get('preset', 'demo')
    num_ids = {'demo': 160, 'gait': 120, 'tiny': 12}[preset]
    return config.Experiment(
        data=config.Data(dataset='synthetic', preset=preset, num_ids=num_ids, height=64, width=32),
        sampler=config.Sampler(kind='tracklet_epoch', num_ids=8, tracklets_per_id=4, frames=4, stride_frames=2),
        augment=config.Augment(flip=0.5, erase=0.0),
        backbone=config.Backbone(
            block=changed.get('block', 'p3dc'), width=16, depths=(1, 1, 1, 1), strides=(1, 2, 1, 1), init='random'
        ),
        strf=config.Strf(stages=changed.get('strf', (2, 3))),
        optim=config.Optim(lr=1e-3, schedule='cosine', warmup_epochs=1.0),
        train=config.Train(epochs=changed.get('epochs', 16), eval_every_epochs=4, checkpoint_every_steps=200),
        test=config.Test(batch_clips=64),
    )

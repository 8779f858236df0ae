"""STRF (ICCV 2021) on MARS: Tables 2, 4, 5, Figure 4 and 6a, supplement; spec of every option in jaxreid/config.py.

python -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS
Paper, Table 2, row P3D-C + STRF: mAP 86.1, rank-1 90.3. Ours: not run yet.

Values the paper does not give are marked "our choice" here; they follow the public code of AP3D (ECCV 2020), whose
recipe the paper adopts.
"""

import itertools

from jaxreid import config

ALL = ('t_tau', 't_sigma', 's_tau', 's_sigma')
OFF = {'strf': {'stages': ()}}
SUBSETS = [s for n in range(1, 5) for s in itertools.combinations(ALL, n)]

# Table row -> changed values, by section. The default row is Table 2, P3D-C + STRF.
VARIANTS: dict[str, dict[str, dict]] = {
    'table2_p3dc': {},
    'table2_i3d': {'backbone': {'block': 'i3d'}},
    'table2_p3da': {'backbone': {'block': 'p3da'}},
    'table2_p3db': {'backbone': {'block': 'p3db'}},
    'c2d': {'backbone': {'block': 'c2d'}} | OFF,
    'table2_i3d_plain': {'backbone': {'block': 'i3d'}} | OFF,
    'table2_p3da_plain': {'backbone': {'block': 'p3da'}} | OFF,
    'table2_p3db_plain': {'backbone': {'block': 'p3db'}} | OFF,
    'table2_p3dc_plain': OFF,
    'nonlocal': OFF | {'nonlocal_blocks': {'stage2': (1, 3), 'stage3': (1, 3, 5)}},
    'figure6a_ffm_only': {'strf': {'fam': 'none_hadamard'}},
    'figure6a_gram': {'strf': {'fam': 'none_gram'}},
    'figure6a_softmax': {'strf': {'fam': 'none_softmax'}},
    'figure4c_s_then_t': {'strf': {'order': 's_then_t'}},
    'figure4c_parallel': {'strf': {'order': 'parallel'}},
    'location_1x3x3': {'strf': {'location': '1x3x3'}},
    'figure4b_ma': {'strf': {'avg_pool': ('s_tau', 's_sigma')}},
    'figure4b_am': {'strf': {'avg_pool': ('t_tau', 't_sigma')}},
    'figure4b_aa': {'strf': {'avg_pool': ALL}},
    'pool_strided': {'strf': {'pool_mode': 'strided', 'r_tau': 2, 'r_sigma': 4}},
    'channel_attention': {'strf': {'global_pool': ('s_tau', 's_sigma')}},
    'softmax_target': {'strf': {'softmax_axis': 'target'}},
    'cov_l2': {'strf': {'cov_norm': 'l2'}},
    'residual': {'strf': {'residual': True}},
    'branch_mean': {'strf': {'branch_reduce': 'mean'}},
}
VARIANTS |= {f'figure4a_r{a}{b}': {'strf': {'r_tau': a, 'r_sigma': b}} for a, b in ((1, 1), (1, 5), (3, 5))}
VARIANTS |= {
    f'table5_stages_{"".join(map(str, s))}': {'strf': {'stages': s}}
    for s in ((1,), (1, 2), (1, 2, 3), (2, 3, 4), (1, 2, 3, 4), (2,), (3,), (3, 4))
}
VARIANTS |= {f'table4_{"+".join(s)}': {'strf': {'branches': s}} for s in SUBSETS}


def get_config(variant: str = 'table2_p3dc') -> config.Experiment:
    """Settings of a variant; see VARIANTS."""
    if variant not in VARIANTS:
        raise config.ConfigError(f'configs/strf_mars.py has no variant {variant!r}.{config.nearest(variant, VARIANTS)}')
    experiment = config.Experiment(
        data=config.Data(dataset='mars', num_ids=625, resize='bicubic'),
        sampler=config.Sampler(kind='tracklet_epoch', num_ids=8, tracklets_per_id=4, frames=4, stride_frames=8),
        augment=config.Augment(flip=0.5, erase=0.5),
        # frame_pool, head a, the blocks inside a stage: our choice.
        backbone=config.Backbone(block='p3dc', stages=(2, 3), frame_pool='max', init='imagenet'),
        strf=config.Strf(stages=(2, 3), branches=ALL, r_tau=1, r_sigma=3, order='t_then_s'),
        head=config.Head(kind='a'),
        loss=config.Loss(
            triplet='margin', margin=0.3, distance='cosine', triplet_on='after_neck'
        ),  # margin: our choice
        optim=config.Optim(lr=3e-4, weight_decay=5e-4, schedule='step', decay_epochs=(50, 100, 150, 200)),
        train=config.Train(epochs=250, eval_every_epochs=10),
        test=config.Test(clips='all_frames', monitor_clips='begin_crop', frames=4, distance='cosine'),
    )
    for section, values in VARIANTS[variant].items():
        for name, value in values.items():
            setattr(getattr(experiment, section), name, value)
    return experiment

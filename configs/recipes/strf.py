"""STRF (ICCV 2021): its recipe and every row of its tables and figures; every option in jaxreid/config.py.

Values the paper does not give are marked "our choice"; they follow the public code of AP3D (ECCV 2020), whose recipe
the paper adopts.
"""

import itertools

from .variants import Changes

ALL = ('t_tau', 't_sigma', 's_tau', 's_sigma')
OFF: Changes = {'strf.stages': ()}
SUBSETS = [s for n in range(1, 5) for s in itertools.combinations(ALL, n)]

RECIPE: Changes = {
    'system': 'baseline',
    'data.resize': 'bicubic',
    'sampler.kind': 'tracklet_epoch',
    'sampler.num_ids': 8,
    'sampler.tracklets_per_id': 4,
    'sampler.clip': 'stride_crop',
    'sampler.frames': 4,
    'sampler.stride_frames': 8,
    'augment.flip': 0.5,
    'augment.erase': 0.5,
    'backbone.block': 'p3dc',
    'backbone.stages': (2, 3),  # our choice, and the blocks inside a stage
    'backbone.frame_pool': 'max',  # our choice
    'backbone.init': 'imagenet',
    'strf.stages': (2, 3),
    'strf.branches': ALL,
    'strf.r_tau': 1,
    'strf.r_sigma': 3,
    'strf.order': 't_then_s',
    'head.kind': 'a',  # our choice
    'loss.triplet': 'margin',
    'loss.margin': 0.3,  # our choice
    'loss.distance': 'cosine',
    'loss.triplet_on': 'after_neck',
    'optim.lr': 3e-4,
    'optim.weight_decay': 5e-4,
    'optim.schedule': 'step',
    'optim.decay_epochs': (50, 100, 150, 200),
    'train.epochs': 250,
    'train.eval_every_epochs': 10,
    'test.clips': 'all_frames',
    'test.monitor_clips': 'begin_crop',
    'test.frames': 4,
    'test.distance': 'cosine',
}
# Training on pieces of long tracklets, as AP3D's code does everywhere but on MARS.
DATASETS: dict[str, Changes] = {
    'mars': {},
    'dukev': {'data.dense_frames': 64},
    'ilids': {'data.dense_frames': 64, 'data.dense_stride': 32},
}
SMALL: Changes = {
    'sampler.stride_frames': 2,
    'strf.reduction': 4,  # 8 and 16 reduced channels, as the full network has
    'train.epochs': 16,
    'train.eval_every_epochs': 4,
}

# Table row -> changed settings. The default row is Table 2, P3D-C + STRF.
VARIANTS: dict[str, Changes] = {
    'table2_p3dc': {},
    'table2_i3d': {'backbone.block': 'i3d'},
    'table2_p3da': {'backbone.block': 'p3da'},
    'table2_p3db': {'backbone.block': 'p3db'},
    'c2d': {'backbone.block': 'c2d'} | OFF,
    'table2_i3d_plain': {'backbone.block': 'i3d'} | OFF,
    'table2_p3da_plain': {'backbone.block': 'p3da'} | OFF,
    'table2_p3db_plain': {'backbone.block': 'p3db'} | OFF,
    'table2_p3dc_plain': OFF,
    'nonlocal': OFF | {'nonlocal_blocks.stage2': (1, 3), 'nonlocal_blocks.stage3': (1, 3, 5)},
    'figure6a_ffm_only': {'strf.fam': 'none_hadamard'},
    'figure6a_gram': {'strf.fam': 'none_gram'},
    'figure6a_softmax': {'strf.fam': 'none_softmax'},
    'figure4c_s_then_t': {'strf.order': 's_then_t'},
    'figure4c_parallel': {'strf.order': 'parallel'},
    'location_1x3x3': {'strf.location': '1x3x3'},
    'figure4b_ma': {'strf.avg_pool': ('s_tau', 's_sigma')},
    'figure4b_am': {'strf.avg_pool': ('t_tau', 't_sigma')},
    'figure4b_aa': {'strf.avg_pool': ALL},
    'pool_strided': {'strf.pool_mode': 'strided', 'strf.r_tau': 2, 'strf.r_sigma': 4},
    # Supplement A draws 8 frames; half the stride keeps the span of a clip (our choice).
    'pool_strided_t8': {
        'strf.pool_mode': 'strided',
        'strf.r_tau': 2,
        'strf.r_sigma': 4,
        'sampler.frames': 8,
        'sampler.stride_frames': 4,
        'test.frames': 8,
    },
    'channel_attention': {'strf.global_pool': ('s_tau', 's_sigma')},
    'softmax_target': {'strf.softmax_axis': 'target'},
    'cov_none': {'strf.cov_norm': 'none'},
    'cov_l2': {'strf.cov_norm': 'l2'},
    'cov_centre': {'strf.cov_norm': 'centre'},
    'residual': {'strf.residual': True},
    'branch_mean': {'strf.branch_reduce': 'mean'},
}
VARIANTS |= {f'figure4a_r{a}{b}': {'strf.r_tau': a, 'strf.r_sigma': b} for a, b in ((1, 1), (1, 5), (3, 5))}
VARIANTS |= {
    f'table5_stages_{"".join(map(str, s))}': {'strf.stages': s}
    for s in ((1,), (1, 2), (1, 2, 3), (2, 3, 4), (1, 2, 3, 4), (2,), (3,), (3, 4))
}
VARIANTS |= {f'table4_{"+".join(s)}': {'strf.branches': s} for s in SUBSETS}

# Rows that name bottlenecks or spans which the small network and its short tracklets lack.
ADAPTED: dict[str, Changes] = {
    'nonlocal': OFF | {'nonlocal_blocks.stage2': (0,), 'nonlocal_blocks.stage3': (0,)},
    'pool_strided_t8': VARIANTS['pool_strided_t8'] | {'sampler.stride_frames': 1},
    'p3dc': OFF,  # a short name for table2_p3dc_plain
}

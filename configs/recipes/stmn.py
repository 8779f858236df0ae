"""STMN (ICCV 2021): its recipe and every row of its tables and figures; every option in jaxreid/config.py."""

from .variants import Changes

RECIPE: Changes = {
    'system': 'stmn',
    'data.resize': 'bilinear',
    'sampler.kind': 'identity_epoch',
    'sampler.num_ids': 8,
    'sampler.tracklets_per_id': 4,
    'sampler.clip': 'rrs',
    'sampler.frames': 6,
    'augment.flip': 0.5,
    'augment.erase': 0.5,
    'augment.erase_scope': 'frame',  # as in the released code
    'backbone.block': 'c2d',
    'backbone.frame_pool': 'avg',
    'backbone.init': 'imagenet',
    'strf.stages': (),
    'stmn.sm': True,
    'stmn.tm': 'memory',
    'stmn.spatial_items': 10,
    'stmn.temporal_items': 5,
    'stmn.alpha': 0.3,
    'stmn.spread': 'mean',  # our choice: the released code; the paper prints a sum
    'head.kind': 'b',
    'loss.triplet': 'soft',  # as in the released code
    'loss.distance': 'euclidean',
    'loss.triplet_on': 'before_neck',
    'optim.lr': 1e-4,
    'optim.weight_decay': 1e-5,  # as in the released code
    'optim.schedule': 'step',
    'optim.decay_epochs': (50, 100, 150),
    'train.epochs': 200,
    'train.eval_every_epochs': 10,
    'test.clips': 'rrs',
    'test.monitor_clips': 'rrs',
    'test.frames': 6,
    'test.distance': 'cosine',
}
DATASETS: dict[str, Changes] = {'mars': {}, 'dukev': {}, 'lsvid': {}}
SMALL: Changes = {
    # Three last stages on maps of 8 x 4 would take twice the time of the other systems.
    'backbone.strides': (1, 2, 2, 1),
    'optim.memory_rate': 30.0,  # so that the memories switch on within some hundred steps; chosen on seed 100
    'train.epochs': 24,
    'train.eval_every_epochs': 6,
}

NO_SM: Changes = {'stmn.sm': False}
NO_TM: Changes = {'stmn.tm': 'off'}
NO_SPREAD: Changes = {'stmn.spread': 'off'}
VALIDATION: Changes = {'data.part': 'validation'}

# Table row -> changed settings. The default row is Table 1, (7), tested by restricted random sampling.
VARIANTS: dict[str, Changes] = {
    'table1_full': {},
    'table1_baseline': NO_SM | NO_TM | NO_SPREAD,
    'table1_sm_no_spread': NO_TM | NO_SPREAD,
    'table1_sm': NO_TM,
    'table1_tm_no_spread': NO_SM | NO_SPREAD,
    'table1_tm': NO_SM,
    'table1_both_no_spread': NO_SPREAD,
    'table2_all_frames': {'test.clips': 'interleaved'},
    # The released code averages every clip with its mirror image; the paper does not say so.
    'table2_all_frames_flip': {'test.clips': 'interleaved', 'test.flip': True},
    'table2_all_frames_contiguous': {'test.clips': 'all_frames'},
    'rrs_flip': {'test.flip': True},
    'mlp': {'stmn.tm': 'mlp', 'stmn.mlp_hidden': 5},
    'mlp_large': {'stmn.tm': 'mlp', 'stmn.mlp_hidden': 512},
    'spread_sum': {'stmn.spread': 'sum'},
    # Loss and statistics per GPU in the released code. Its three shards of 32 clips are unequal; ours are four of 8.
    'spread_per_device': {'stmn.spread_groups': 4, 'train.bn_groups': 4},
    'query_flat': {'stmn.query_layout': 'flat'},
    'key_channel': {'stmn.key_norm': 'channel'},
    'stem_no_relu': {'stmn.stem_relu': False},
    'validation': VALIDATION,
}
VARIANTS['released'] = {  # samples identity_epoch: its program imports the loader whose default that is
    **VARIANTS['query_flat'],
    **VARIANTS['key_channel'],
    **VARIANTS['stem_no_relu'],
    **VARIANTS['spread_per_device'],
    **VARIANTS['table2_all_frames_flip'],
    'stmn.spread': 'mean',
}
# Section 4.1, chosen on identities held out of the training split.
VARIANTS |= {
    f'grid_items_{m}_{n}': VALIDATION | {'stmn.spatial_items': m, 'stmn.temporal_items': n}
    for m in (5, 10, 20)
    for n in (5, 10, 20)
}
VARIANTS |= {f'grid_alpha_{a}': VALIDATION | {'stmn.alpha': a} for a in (0.1, 0.3, 0.5, 0.7, 1.0)}
VARIANTS |= {f'grid_frames_{n}': VALIDATION | {'sampler.frames': n, 'test.frames': n} for n in (4, 6, 8, 10)}
ADAPTED: dict[str, Changes] = {}

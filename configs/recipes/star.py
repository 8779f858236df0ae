"""STAR (BMVC 2019): its recipe and every row of its tables and figures; every option in jaxreid/config.py."""

from .variants import Changes

RECIPE: Changes = {
    'system': 'star',
    'data.resize': 'bilinear',  # our choice
    'data.flow': 'tvl1',
    'sampler.kind': 'tracklet_epoch',  # our choice
    'sampler.num_ids': 4,  # 16 clips; 4 x 4 is our choice
    'sampler.tracklets_per_id': 4,
    'sampler.clip': 'random',
    'sampler.frames': 10,
    'augment.flip': 0.5,
    'augment.erase': 0.0,
    'augment.translate_px': 10,  # our choice
    'backbone.block': 'c2d',
    'backbone.strides': (1, 2, 2, 2),  # our choice: the paper names no change of the last stride
    'backbone.frame_pool': 'avg',
    'backbone.init': 'imagenet',
    'strf.stages': (),
    'star.streams': ('rgb', 'flow'),
    'star.attention': 'lsta',
    'star.gates': 'identity',  # our choice
    'star.attention_place': 'stage',  # our choice of the reading of "block-wise"
    'star.aggregator': 'gsta',
    'star.hidden': 256,  # our choice
    'star.pyramid_weight': 0.1,
    'star.pyramid_margin': 0.4,
    'star.pyramid_levels': (1, 2, 4),
    'head.kind': 'plain',
    'loss.triplet': 'margin',
    'loss.margin': 0.4,
    'loss.distance': 'euclidean',
    'optim.lr': 5e-4,
    'optim.weight_decay': 5e-4,  # our choice
    'optim.schedule': 'step',
    'optim.decay_epochs': (150,),
    'train.epochs': 300,  # our choice
    'train.eval_every_epochs': 10,
    'test.clips': 'whole',
    'test.monitor_clips': 'random',
    'test.frames': 10,
    'test.batch_clips': 8,  # sequences of a whole tracklet each
    'test.distance': 'euclidean',
}
DATASETS: dict[str, Changes] = {'ilids': {}, 'prid': {}, 'mars': {}, 'dukev': {}}
SMALL: Changes = {
    'sampler.num_ids': 8,
    'sampler.frames': 4,
    'augment.translate_px': 0,
    'star.hidden': 16,
    'star.attention_reduction': 4,
    # From a random start vectors hardly differ from their mean: cross entropy on them learns next to nothing, and the
    # Euclidean triplet stays at its margin. Both see them behind a BN neck, the triplet their angles.
    'head.kind': 'b',
    'loss.triplet_on': 'after_neck',
    'loss.distance': 'cosine',
    'loss.margin': 0.3,
    'test.distance': 'cosine',
    'optim.lr': 2e-3,  # 61.5 rank-1 on demo where 1e-3 gave 50.3
    'train.epochs': 12,
    'train.eval_every_epochs': 0,
    # TV-L1 takes 0.1 s a frame even at this size: every tracklet shows the same four frames, each computed once.
    'sampler.clip': 'begin_crop',
    'test.clips': 'begin_crop',
    'test.frames': 4,
    'test.batch_clips': 64,
}

NO_PYRAMID: Changes = {'star.pyramid_weight': 0.0}
POOL: Changes = {'star.aggregator': 'pool'} | NO_PYRAMID
PLAIN: Changes = {'star.attention': 'off'} | NO_PYRAMID
RGB: Changes = {'star.streams': ('rgb',), 'data.flow': 'off'}

# Table row -> changed settings. The default row is the last of Table 3. Figures 4 and 6 compare one part on a network
# without the others, with cross entropy and triplet: our choice.
VARIANTS: dict[str, Changes] = {
    'table3_full': {},
    'table1_two_stream': POOL | {'star.attention': 'off', 'loss.triplet': 'off'},
    'table3_cbam': POOL | {'star.attention': 'cbam', 'star.attention_place': 'block'},
    'table3_lsta': POOL,
    'table3_lsta_gsta': NO_PYRAMID,
    'figure4a_cbam': POOL | {'star.attention': 'cbam'},
    'figure4a_se': POOL | {'star.attention': 'se'},
    'figure4a_holistic': POOL | {'star.attention': 'holistic'},
    'figure4a_none': POOL | {'star.attention': 'off'},
    'lsta_branch': POOL | {'star.attention_place': 'block'},
    'figure4b_gsta': PLAIN,
    'figure4b_lstm': PLAIN | {'star.aggregator': 'lstm'},
    'figure4b_conv3d': PLAIN | {'star.aggregator': 'conv3d'},
    'figure4b_holistic': PLAIN | {'star.aggregator': 'holistic'},
    'figure5_id': NO_PYRAMID | {'loss.triplet': 'off'},
    'figure6_conv7': POOL | {'star.lsta_spatial': 'conv7'},
    'figure6_plain': POOL | {'star.lsta_spatial': 'plain'},
    'figure6_no_spatial': POOL | {'star.lsta_spatial': 'off'},
    'figure7_rgb': RGB | NO_PYRAMID | {'star.aggregator': 'pool'},
    'figure7_rgb_gsta': RGB | NO_PYRAMID,
    'flow_zeros': {'data.flow': 'zeros'},
    'flow_magnitude': {'star.flow_channels': 3},
    'gates_sigmoid': {'star.gates': 'sigmoid'},
    'lsta_gates_sigmoid': POOL | {'star.gates': 'sigmoid'},
    'lsta_shared': {'star.lsta_shared': True},
    'hidden128': {'star.hidden': 128},
    'hidden512': {'star.hidden': 512},
    'last_stride1': {'backbone.strides': (1, 2, 2, 1)},
    'mine_embedding': {'star.pyramid_mine': 'embedding'},
    'cbam_pyramid': {'star.aggregator': 'pool', 'star.attention': 'cbam', 'star.attention_place': 'block'},
    'whole': {'test.clips': 'whole', 'test.batch_clips': 8},
    'pieces': {'test.clips': 'all_frames'},
}
ADAPTED: dict[str, Changes] = {
    'hidden128': {'star.hidden': 8},
    'hidden512': {'star.hidden': 32},
    'last_stride1': {},
    # Without flow no frames need be the same at every epoch.
    'rgb': RGB | {'sampler.clip': 'random', 'test.clips': 'whole', 'test.batch_clips': 8},
}

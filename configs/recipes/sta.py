"""STA (AAAI 2019): its recipe and every row of its tables; every option in jaxreid/config.py."""

from .variants import Changes

RECIPE: Changes = {
    'system': 'sta',
    'data.resize': 'bilinear',  # our choice
    'sampler.kind': 'identity_epoch',  # our choice
    'sampler.num_ids': 16,
    'sampler.tracklets_per_id': 4,
    'sampler.clip': 'random',
    'sampler.frames': 4,
    'augment.flip': 0.5,
    'augment.erase': 0.0,
    'backbone.block': 'c2d',
    'backbone.frame_pool': 'avg',
    'backbone.init': 'imagenet',
    'strf.stages': (),
    'sta.mode': 'fusion',
    'sta.stripes': 4,
    'sta.dim': 1024,  # our choice, after a public re-implementation
    'sta.reg_lambda': 0.1,  # our choice
    'head.kind': 'plain',
    'loss.triplet': 'margin',
    'loss.margin': 0.3,
    'loss.distance': 'euclidean',
    'optim.lr': 3e-4,
    'optim.weight_decay': 5e-4,
    'optim.schedule': 'step',
    'optim.decay_epochs': (200, 400),
    'train.epochs': 800,
    'train.eval_every_epochs': 20,
    'test.clips': 'random',
    'test.monitor_clips': 'random',
    'test.frames': 4,
    'test.distance': 'euclidean',  # our choice
}
DATASETS: dict[str, Changes] = {'mars': {}, 'dukev': {}}
SMALL: Changes = {
    'sampler.num_ids': 8,
    'sta.dim': 128,
    # From a random start embeddings hardly differ from their mean: cross entropy on them learns next to nothing, and
    # the Euclidean triplet's gradient is 50 to 100 times as large as its. Both see them behind a BN neck, the triplet
    # their angles, as in STAR's small recipe.
    'head.kind': 'b',
    'loss.triplet_on': 'after_neck',
    'loss.distance': 'cosine',
    'test.distance': 'cosine',
    'optim.lr': 2e-3,
    'train.epochs': 24,
    'train.eval_every_epochs': 6,
}

NO_REG: Changes = {'sta.reg_lambda': 0.0}

# Table row -> changed settings. The default row is the last of Table 1.
VARIANTS: dict[str, Changes] = {
    'table1_full': {},
    'table1_baseline': {'sta.mode': 'image', 'loss.triplet': 'off'} | NO_REG,
    'table1_tl': {'sta.mode': 'image'} | NO_REG,
    'table1_avg': {'sta.mode': 'avg'} | NO_REG,
    'table1_sta': {'sta.mode': 'sta'} | NO_REG,
    'table1_fusion': NO_REG,
    'table2_n2': {'test.frames': 2},
    'table2_n6': {'test.frames': 6},
    'table2_n8': {'test.frames': 8},
    'table3_k2': {'sta.stripes': 2},
    'table3_k8': {'sta.stripes': 8},
    'table4_rerank': {'test.rerank': True},
    'even_frames': {'test.clips': 'even'},
    # The paper prints 70 epochs and, two sentences later, a schedule of 800: the same fractions of it.
    'epochs70': {'train.epochs': 70, 'optim.decay_epochs': (18, 35), 'train.eval_every_epochs': 10},
    'dim2048': {'sta.dim': 2048},
    'attn_l2': {'sta.attn_map': 'l2'},
    'reg_squared': {'sta.reg_squared': True},
    'embed_bn_relu': {'sta.embed_bn': True, 'sta.embed_relu': True},
}
ADAPTED: dict[str, Changes] = {'dim2048': {'sta.dim': 256}}

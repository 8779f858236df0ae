"""TF-CLIP (AAAI 2024): its recipe and the rows of its Table 2; every option in jaxreid/config.py."""

from .variants import Changes

RECIPE: Changes = {
    'system': 'tfclip',
    'data.resize': 'bilinear',
    'sampler.kind': 'tracklet_epoch_distinct',
    'sampler.num_ids': 4,
    'sampler.tracklets_per_id': 4,
    'sampler.clip': 'rrs',
    'sampler.frames': 8,
    'augment.flip': 0.5,
    'augment.erase': 0.5,
    'augment.erase_area_max': 0.2,  # as in the released code
    'backbone.block': 'c2d',
    'backbone.init': 'clip',
    'strf.stages': (),
    'head.kind': 'b',
    'loss.identity_weight': 0.25,
    'loss.smoothing': 0.1,
    'loss.triplet': 'margin',
    'loss.margin': 0.3,
    'loss.distance': 'euclidean',
    'loss.triplet_on': 'before_neck',
    'optim.lr': 5e-6,
    'optim.bias_rate': 2.0,
    'optim.tenfold': ('ssp', 'tmd', 'classifier_tmd'),  # our choice: what the released code's rules are meant to reach
    'optim.weight_decay': 1e-4,
    'optim.schedule': 'step',
    'optim.decay_epochs': (30, 50, 70),
    'optim.warmup_epochs': 10.0,
    'optim.warmup_factor': 0.1,
    'train.epochs': 80,
    'train.eval_every_epochs': 10,
    'test.clips': 'rrs',
    'test.monitor_clips': 'rrs',
    'test.frames': 8,
    'test.distance': 'cosine',  # of features of length 1 Euclidean distance ranks alike
}
# Embeddings of as many cameras as the data set has.
DATASETS: dict[str, Changes] = {'mars': {}, 'lsvid': {'tfclip.cameras': 15}, 'ilids': {'tfclip.cameras': 2}}
SMALL: Changes = {
    'sampler.num_ids': 8,
    'sampler.frames': 4,
    'vit.width': 64,
    'vit.depth': 4,
    'vit.heads': 4,
    'vit.patch': 8,
    'vit.projection': 32,
    # As in the other small recipes: from a random start Euclidean distances hardly differ.
    'loss.identity_weight': 1.0,
    'loss.smoothing': 0.0,
    'loss.triplet_on': 'after_neck',
    'loss.distance': 'cosine',
    'optim.bias_rate': 1.0,
    'optim.tenfold': (),
    'optim.lr': 3e-3,
    'optim.warmup_epochs': 3.0,
    'train.epochs': 24,
    'train.eval_every_epochs': 6,
    'test.frames': 4,
}

NO_MEMORY: Changes = {'tfclip.memory': False, 'tfclip.ssp': False}
NO_TMD: Changes = {'tfclip.tmd': False}

# Table row -> changed settings. The default row is the last of Table 2.
VARIANTS: dict[str, Changes] = {
    'table2_full': {},
    'mean': NO_MEMORY | NO_TMD,
    'table2_memory': {'tfclip.ssp': False} | NO_TMD,
    'table2_ssp': NO_TMD,
    'table2_tmd': {'tfclip.ssp': False},
    # VSLA-CLIP (ECCV 2024): its adapters on the frozen tower, trained as TF-CLIP's mean is. The rate is our choice.
    'vsla': NO_MEMORY
    | NO_TMD
    | {'vit.adapters': 256, 'optim.frozen_stages': (0,), 'tfclip.cameras': 0, 'optim.lr': 1e-4},
    'all_frames': {'test.clips': 'all_frames'},
    'no_cameras_at_test': {'tfclip.cameras_at_test': False},
    'no_cameras': {'tfclip.cameras': 0},
    # The ten-fold rate of the released code reaches one of the names that it is written for.
    'released': {'optim.tenfold': ('classifier_tmd',)},
}
ADAPTED: dict[str, Changes] = {
    # On a tower that has learnt nothing the whole of it learns.
    'vsla': NO_MEMORY | NO_TMD | {'vit.adapters': 16, 'tfclip.cameras': 0},
    # What `backbone.init=rendered` starts from: the people of this preset are in no other.
    'people': NO_MEMORY
    | NO_TMD
    | {
        'data.preset': 'people',
        'data.num_ids': 200,
        'tfclip.cameras': 0,
        'optim.lr': 1e-3,
        'optim.warmup_epochs': 1.0,
        'train.epochs': 8,
        'train.eval_every_epochs': 0,
        'test.references': False,
    },
}

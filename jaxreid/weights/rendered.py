"""The network that `backbone.init=rendered` starts from: a small C2D, or for TF-CLIP a small ViT, trained once on
rendered people of its own.

Published systems start from ImageNet or CLIP, which the networks of reduced width cannot; this is their stand-in.
Training makes it where it is missing.
"""

import copy
import hashlib
import json
import pathlib

from jaxreid import config
from jaxreid.configs import c2d_synthetic, tfclip_synthetic
from jaxreid.data.synthetic import plan
from jaxreid.process import cache


def experiment(e: config.Experiment) -> config.Experiment:
    """Its settings, for the start of `e`: a network of the same width and depths, and of a ViT the same heads too."""
    if e.system == 'tfclip':
        made = tfclip_synthetic.get_config('people')
        made.vit = copy.copy(e.vit)
        made.data.height, made.data.width = e.data.height, e.data.width
        return made
    made = c2d_synthetic.get_config()
    made.backbone.width, made.backbone.depths = e.backbone.width, e.backbone.depths
    return made


def folder(e: config.Experiment) -> pathlib.Path:
    """Its workdir in the cache; another one for other settings or another version of the renderer."""
    default = config.flatten(config.Experiment())
    # Only what differs from the defaults: settings that come later make no other network.
    made = experiment(e)
    changed = {k: v for k, v in config.flatten(made).items() if v != default[k]}
    settings = json.dumps([changed, plan.RENDERER_VERSION], sort_keys=True)
    name = {'tfclip': 'vit'}.get(made.system, 'c2d')
    return cache.folder() / f'{name}_synthetic-{hashlib.sha256(settings.encode()).hexdigest()[:10]}'


def is_trained(e: config.Experiment) -> bool:
    """Whether its training has ended."""
    return (folder(e) / 'results.json').is_file()

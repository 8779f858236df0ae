"""The network that `backbone.init=rendered` starts from: a small C2D, trained once on rendered people of its own.

Published systems start from ImageNet, which the networks of reduced width cannot; this is their stand-in. `train` makes
it where it is missing.
"""

import hashlib
import json
import pathlib

from jaxreid import config
from jaxreid.configs import c2d_synthetic
from jaxreid.data.synthetic import plan
from jaxreid.process import cache


def experiment(backbone: config.Backbone) -> config.Experiment:
    """Its settings, for a network of the width and depths of `backbone`."""
    made = c2d_synthetic.get_config()
    made.backbone.width, made.backbone.depths = backbone.width, backbone.depths
    return made


def folder(backbone: config.Backbone) -> pathlib.Path:
    """Its workdir in the cache; another one for other settings or another version of the renderer."""
    default = config.flatten(config.Experiment())
    # Only what differs from the defaults: settings that come later make no other network.
    changed = {k: v for k, v in config.flatten(experiment(backbone)).items() if v != default[k]}
    settings = json.dumps([changed, plan.RENDERER_VERSION], sort_keys=True)
    return cache.folder() / f'c2d_synthetic-{hashlib.sha256(settings.encode()).hexdigest()[:10]}'


def is_trained(backbone: config.Backbone) -> bool:
    """Whether its training has ended."""
    return (folder(backbone) / 'results.json').is_file()

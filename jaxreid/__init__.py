"""Person re-identification from video in JAX."""

import os

__version__ = '0.1.0'

# configs/ and data_pipelines/ are packages of jaxreid: within it where it was installed, beside it in a checkout.
if not os.path.isdir(os.path.join(__path__[0], 'configs')):
    __path__.append(os.path.dirname(__path__[0]))

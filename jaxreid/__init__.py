"""Person re-identification from video in JAX.

  import jaxreid

  net = jaxreid.load('runs/strf_synthetic')
  features = net.embed(clips)               # uint8 RGB [B, T, H, W, 3] -> float32 [B, D]

Nothing is imported before one of the names in `__all__` is used.
"""

import os
import signal
from typing import TYPE_CHECKING

from jaxreid.process import exit_status

if TYPE_CHECKING:
    from jaxreid.api.calls import evaluate as evaluate
    from jaxreid.api.calls import load as load
    from jaxreid.api.calls import rank as rank
    from jaxreid.api.calls import read as read
    from jaxreid.api.calls import rerank as rerank
    from jaxreid.api.calls import score as score
    from jaxreid.api.calls import settings as settings
    from jaxreid.api.calls import train as train

__version__ = '0.1.0'
__all__ = ['evaluate', 'load', 'rank', 'read', 'rerank', 'score', 'settings', 'train']

# configs/ and data_pipelines/ are packages of jaxreid: within it where it was installed, beside it in a checkout.
if not os.path.isdir(os.path.join(__path__[0], 'configs')):
    __path__.append(os.path.dirname(__path__[0]))

# A command of ours that is stopped while it imports.
if exit_status.module_run().split('.')[0] in ('jaxreid', 'data_pipelines'):
    signal.signal(signal.SIGINT, exit_status.stop)


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from jaxreid.api import calls

    return getattr(calls, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Where things that can be made again are kept between runs."""

import os
import pathlib


def folder() -> pathlib.Path:
    """$JAXREID_CACHE, else $XDG_CACHE_HOME/jaxreid, else ~/.cache/jaxreid: rendered data, weights, programs."""
    if os.environ.get('JAXREID_CACHE'):
        return pathlib.Path(os.environ['JAXREID_CACHE'])
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'jaxreid'

"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file under a temporary name beside `path`, renamed to it when the block ends; makes the folder where needed.

    Raises:
      OSError: names the file and what to do; what was at `path` is untouched.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}-{threading.get_ident()}')  # of this writer alone
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('wb') as file:
            yield file
        temporary.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(f'cannot write {path}: {e}; make space or choose a writable --workdir') from e

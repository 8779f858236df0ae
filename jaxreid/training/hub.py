"""Folders on the Hugging Face hub by name: hf:OWNER/NAME, or hf:OWNER/NAME@REVISION for a branch, tag or commit."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

NAME = re.compile(r'hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?')
_SECONDS = 5.0  # for the hub to answer at all


class HubError(ValueError):
    """A name of the hub leads to nothing; the message says why and what to do."""


def library() -> Any:
    """The module huggingface_hub, which only names of the hub need. Where the hub cannot be reached it is told so, and
    looks into its cache at once: it would ask again for a minute.

    Raises:
      HubError: it is not installed.
    """
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as e:
        raise HubError("names of the Hugging Face hub need its library: pip install 'jaxreid[hub]'") from e
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=_SECONDS)
        except Exception:  # of what the library sends its requests with, which differs by its version
            huggingface_hub.constants.HF_HUB_OFFLINE = True
    return huggingface_hub


def fetched(name: str, files: Sequence[str]) -> pathlib.Path:
    """The folder in the hub's own cache with those of `files` that a repository has; they are fetched once.

    Without a connection it is what the cache holds.

    Raises:
      HubError: the name is none, the library is missing, there is no such repository or revision, or the hub does not
        answer and the cache has nothing.
    """
    parts = NAME.fullmatch(name)
    if parts is None:
        raise HubError(f'{name!r} is no name of the Hugging Face hub; expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION')
    repository, revision = parts.groups()
    hub = library()
    try:
        return pathlib.Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except hub.errors.GatedRepoError as e:
        raise HubError(f'{name}: its owner asks you to accept terms first, at huggingface.co/{repository}') from e
    except hub.errors.RepositoryNotFoundError as e:
        raise HubError(f'{name}: the hub has no such repository, or it is private: log in with hf auth login') from e
    except hub.errors.RevisionNotFoundError as e:
        raise HubError(f'{name}: the repository has no revision {revision!r}') from e
    except Exception as e:  # whatever keeps the hub from answering has one remedy
        said = (str(e).strip() or repr(e)).splitlines()[0]
        raise HubError(
            f'{name}: the hub does not answer, and nothing of it was fetched before ({said:.200}); try again with a '
            'connection, or copy the repository here and name the folder'
        ) from e

"""Opens what a search names: a feature file, a gallery, a manifest, or a folder of tracklets."""

import dataclasses
import functools
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from jaxreid import command_line, config
from jaxreid.data import source
from jaxreid.data.batches import eval_pipeline
from jaxreid.data.datasets import listing, manifest
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file
from jaxreid.evaluation import features as features_lib
from jaxreid.evaluation import network as network_lib
from jaxreid.from_video import cut
from jaxreid.process import exit_status, paths
from jaxreid.search import feature_rows, gallery, tracklets

KINDS = (
    'a feature file (.npz), a gallery folder (python -m jaxreid.search add), a manifest (.csv, .jsonl), or a folder of '
    'tracklets, one folder of images each, or a single image'
)

EACH = ('folder', 'file')  # a tracklet is all images of a folder, or every image is one


def open_any(
    path: str, role: str, network: Callable[[], network_lib.Network] | None, *, frames_root: str = '', each: str = ''
) -> tracklets.Tracklets:
    """The tracklets behind a path. Images are listed; their features are extracted when they are first read.

    Args:
      path: one of KINDS.
      role: 'gallery' or 'query', those asked for where roles are known; '' all of a test set.
      network: loads the network that crops become features by; None where no checkpoint was named.
      each: what a tracklet is in folders of images, see EACH; '' is 'folder', and says so where it may not be meant.
      frames_root: folder that the paths of a manifest that `path` names start from; '' is the one that it lies in.

    Raises:
      ValueError, OSError: it is none of KINDS, or as what reads it.
    """
    place = pathlib.Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f'{path} does not exist; expected {KINDS}')
    if place.is_dir() and gallery.is_gallery(place):
        return gallery.open_folder(place)
    if place.is_dir():
        frames_root = ''
    if (place / cut.MANIFEST).is_file():  # of jaxreid.from_video
        place = place / cut.MANIFEST
    if place.suffix == '.npz' and place.is_file():
        features = feature_file.load(place, roles=False)
        _warn_of_zeros(features, place)
        return tracklets.chosen(
            features, str(place), role, functools.partial(_film, functools.cache(lambda: _frames_of(features)))
        )
    image = place.is_file() and manifest.is_image(place.name)
    if place.is_file() and not image and place.suffix.lower() not in ('.csv', '.jsonl', '.ndjson'):
        raise ValueError(f'{path} is none of what a search reads: {KINDS}')
    if image:
        dataset = _of_images(place.parent, [place.name], each='file')
    elif place.is_dir():
        dataset = folder_of_tracklets(place, each=each)
    else:
        dataset = _of_manifest(place, role, frames_root)
    if network is None:
        raise ValueError(f'{path} holds images; add --checkpoint DIR, the network that turns them into features')
    loaded = applied(network(), dataset, root=str(place), frames_root=frames_root)
    frames = [[os.path.join(dataset.root, frame) for frame in one.frames] for one in dataset.test]

    def chosen(features):
        return tracklets.chosen(features, str(place), role, lambda row: tracklets.film(frames[row]))

    def read():
        features = loaded.features(dataset, label=f'extract {place.name}')
        if replaced := features.meta.get('corrupt_frames_replaced'):
            print(f'{place}: {replaced} frames cannot be decoded; neighbours took their places', file=sys.stderr)
        _warn_of_zeros(features, place)
        return chosen(features).features.read(0, len(dataset.test))

    nothing = np.zeros((len(dataset.test), 0), np.float32)
    listed = chosen(features_lib.describe(dataset, nothing, nothing, loaded.making()))
    return dataclasses.replace(listed, features=feature_rows.Rows.later(read, len(listed)))


def _warn_of_zeros(features, place):
    zeros = int((~features.embedding.any(axis=1)).sum())
    if zeros:
        print(f'{place}: {zeros} of its {len(features.pid)} tracklets have features of zeros only', file=sys.stderr)


def folder_of_tracklets(folder: pathlib.Path, *, each: str = '') -> tracklet.Dataset:
    """Every folder below (and this one) that holds images as a tracklet of an unknown person in an unknown camera; with
    `each` 'file' every image.

    Raises:
      ValueError: there are no images.
    """
    images: list[str] = []
    for where, folders, names in os.walk(folder, onerror=_stop):
        folders[:] = sorted((f for f in folders if not f.startswith(listing.IGNORED)), key=manifest.natural)
        if strange := next((name for name in (*folders, *names) if paths.control(name)), None):
            raise ValueError(f'{exit_status.printable(where)} holds {strange!r}, which is no name in UTF-8; rename it')
        below = pathlib.Path(where).relative_to(folder).as_posix()
        prefix = '' if below == '.' else f'{below}/'
        kept = [name for name in names if manifest.is_image(name) and not name.startswith(listing.IGNORED)]
        images += [prefix + name for name in sorted(kept, key=manifest.natural)]
    if not images:
        raise ValueError(
            f'{folder} holds no images ({", ".join(manifest.IMAGES)}), no {gallery.HEADER}, and so nothing to search; '
            f'it held {listing.shown(str(folder))}. Expected {KINDS}'
        )
    flat = sum('/' not in image for image in images)
    if flat > 1 and not each:
        print(
            f'{folder}: the {flat} images in it are one tracklet of one person; --each file makes a tracklet of each',
            file=sys.stderr,
        )
    return _of_images(folder, images, each=each or 'folder')


def _of_images(folder: pathlib.Path, images: Sequence[str], *, each: str) -> tracklet.Dataset:
    tracks: dict[str, list[str]] = {}
    for image in images:
        where = image.rpartition('/')[0] or folder.resolve().name
        tracks.setdefault(image if each == 'file' else where, []).append(image)
    listed = [tracklet.Tracklet(name, tracklet.DISTRACTOR_ID, 0, tuple(frames)) for name, frames in tracks.items()]
    everyone = np.ones(len(listed), bool)
    return tracklet.Dataset(str(folder), (), tuple(listed), everyone, everyone, camera_names={0: ''})


def _stop(error):
    raise error


def _of_manifest(path, role, frames_root):
    with warnings.catch_warnings(action='ignore'):  # about queries that no score could be made of
        dataset = manifest.read(path, frames_root=frames_root)
    if not dataset.test:
        raise ValueError(f'{path}: all its tracklets have the role train; give those to search another ({role})')
    marked = {'gallery': dataset.gallery, 'query': dataset.query}.get(role, np.zeros(len(dataset.test), bool))
    kept = np.flatnonzero(marked | (not marked.any()))
    return dataclasses.replace(
        dataset,
        train=(),
        test=tuple([dataset.test[row] for row in kept]),
        query=dataset.query[kept],
        gallery=dataset.gallery[kept],
    )


def network_loader(checkpoint: str) -> Callable[[], network_lib.Network] | None:
    """Loads the network of a checkpoint when first called; None where none is named."""
    if not checkpoint:
        return None

    def load():
        command_line.parse_absl()
        print(f'loading the network of {checkpoint}', file=sys.stderr)
        return network_lib.Network.load(checkpoint)

    return functools.cache(load)


def applied(
    network: network_lib.Network, dataset: tracklet.Dataset, *, root: str, frames_root: str
) -> network_lib.Network:
    """The network under settings that read a data set's frames, with the clips that it was tested with.

    `root` and `frames_root` are noted in the features: the data set's folder or manifest, and where that one's paths
    start.
    """
    experiment = config.from_dict(config.to_dict(network.experiment))
    experiment.data = dataclasses.replace(
        experiment.data, dataset='manifest', root=root, frames_root=frames_root, also=(), store='folder', records='',
        split='0', part='official', flow_folder='', on_corrupt_eval='skip_frame',
    )  # fmt: skip
    # A few tracklets do not fill a batch for a test set.
    test = experiment.test
    clips = eval_pipeline.count(dataset.test, clips=test.clips, frames=test.frames, batch_clips=1)
    test.batch_clips = min(test.batch_clips, 1 << (clips - 1).bit_length())
    return dataclasses.replace(network, experiment=experiment)


def _film(frames: Callable[[], list[list[str]]], row: int) -> list[str]:
    known = frames()
    return tracklets.film(known[row]) if known and known[row] else []


def _frames_of(features: feature_file.Features) -> list[list[str]]:
    """Image files of the tracklets of a feature file, from the data set that it names; [] where that is not at hand."""
    try:
        data = source.of_settings(features.meta['config']).data
        if data.records:
            return []
        place = pathlib.Path(data.root)
        with warnings.catch_warnings(action='ignore'):
            whole = folder_of_tracklets(place) if data.dataset == 'manifest' and place.is_dir() else source.read(data)
    except (KeyError, ValueError, OSError) as e:
        tqdm.tqdm.write(f'no pictures of its tracklets: the data set that the features are from is not at hand ({e})')
        return []
    frames = {one.name: [os.path.join(whole.root, frame) for frame in one.frames] for one in whole.test}
    return [frames.get(name, []) for name in features.name.tolist()]

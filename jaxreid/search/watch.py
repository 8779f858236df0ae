"""Who is this, as people leave: a video is cut into tracklets, each is sought in a gallery, and added to it."""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable

from jaxreid.evaluation import network as network_lib
from jaxreid.from_video import arguments, cut
from jaxreid.process import commands
from jaxreid.search import calibration_file, gallery, results, sources, tracklets


def arguments_of(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('gallery', metavar='GALLERY', help='folder of the gallery')
    arguments.add(parser)
    parser.add_argument('--checkpoint', default='', help='workdir or checkpoint of the network')
    parser.add_argument('--calibration', default='', help='report.calibration.json of the same network')
    parser.add_argument('--top', type=commands.positive, default=3, help='answers per person (3)')
    parser.add_argument('--add', action='store_true', help='add everybody to the gallery, after they were sought in it')


def watch(options: argparse.Namespace) -> None:
    """Answers on the terminal; the gallery grows where it is asked to."""
    network = sources.network_loader(options.checkpoint)
    if network is None:
        raise ValueError('add --checkpoint DIR, the network that turns crops into features')
    folder = pathlib.Path(options.gallery).expanduser()
    if not (options.add or gallery.is_gallery(folder)):
        raise ValueError(f'{folder} is no gallery; make one with python -m jaxreid.search add, or say --add')
    calibration = calibration_file.read(options.calibration) if options.calibration else None

    def came(left: cut.Tracklet) -> None:
        one = _features(left, network)
        if gallery.is_gallery(folder):
            held = gallery.open_folder(folder)
            tracklets.check_comparable(held, one)
            made = held.made | one.made
            distance = made.get('distance', 'cosine')
            if calibration is not None:
                calibration_file.check_belongs(calibration, {**made, 'distance': distance})
            top = min(options.top, len(held))
            answers = results.search(
                held, one, top=top, distance=distance, filters=results.Filters(), calibration=calibration
            )
            print('\n'.join(results.of_query(held, one, answers, 0)), flush=True)
        else:
            print(f'{one.name[0]}  the first in {folder}\n', flush=True)
        if options.add:
            gallery.append(folder, one)

    done = cut.cut(**arguments.chosen(options), came=came)
    print(f'{done.tracklets} tracklets from {done.frames} frames: {done.manifest}', file=sys.stderr)


def _features(left: cut.Tracklet, network: Callable[[], network_lib.Network]) -> tracklets.Tracklets:
    """A tracklet that was just cut, as what a search knows."""
    one = sources.open_any(str(left.folder), '', network)
    name, camera, time = ([str(left.row[column])] for column in ('tracklet', 'camera', 'time'))
    return dataclasses.replace(one, name=name, camera=camera, time=time)

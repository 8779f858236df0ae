"""Cuts person tracklets out of the video of a fixed camera, for jaxreid.search and training.

  python -m jaxreid.from_video door.mp4 tracklets/door --camera door --start 2026-11-21T14:00:00
  python -m jaxreid.from_video door.mp4 tracklets/door --detector yolo.onnx
  python -m jaxreid.from_video door.mp4 tracklets/door --detections det.txt

OUT receives a folder of crops per tracklet; tracklets.csv, a manifest (docs/own_data.md) with camera and time; and
tracks.txt, the boxes.
Without a detector nothing is downloaded, and people are what moves and stands upright: a demonstration. A modern
detector finds more people, and keeps them apart where they meet. Name the ONNX file of one, of the YOLO or RT-DETR
family, with --detector; or give boxes, in the format of MOTChallenge (frame,id,left,top,width,height,confidence;
id -1 for detections), with --detections.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxreid.from_video import arguments, cut
from jaxreid.process import commands, exit_status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = commands.parser('video', __doc__)
    arguments.add(parser)
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Parses, cuts, says what came out; expected errors become one message and an exit status."""
    options = parse(argv)

    def act() -> int:
        made = cut.cut(**arguments.chosen(options))
        print(f'{made.tracklets} tracklets, {made.crops} crops, from {made.frames} frames: {made.manifest}')
        if made.damaged:
            print(f'{made.damaged} damaged frames, or pieces of frames, were skipped')
        if made.too_short:
            print(f'{made.too_short} tracks with fewer than {options.min_frames} crops were left out')
        if made.outside:
            print(f'{made.outside} boxes outside of the image were left out')
        if not (options.detections or options.detector):
            print(
                'Cut by what moves, a demonstration. A modern detector and tracker cut better tracklets: name one with '
                '--detector FILE.onnx, or give boxes with --detections FILE. Look at the crops before you rely on them.'
            )
        return 0

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))

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
import pathlib
import sys
from collections.abc import Sequence

from jaxreid.from_video import cut, onnx_detector, video
from jaxreid.process import commands, exit_status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = commands.parser('video', __doc__)
    what = 'of a fixed camera: a file, a folder of images, a stream (rtsp://...) or a device (/dev/video0)'
    parser.add_argument('video', type=video.place, metavar='VIDEO', help=what)
    parser.add_argument('out', type=pathlib.Path, metavar='OUT', help='folder to make')
    parser.add_argument('--camera', default='', help="name of the camera (the video's)")
    parser.add_argument('--start', default='', help='date and time of the first frame, 2026-11-21T14:00:00 (live: now)')
    parser.add_argument('--fps', type=float, help='images per second, of a folder of images')
    boxes = 'boxes in the format of MOTChallenge or COCO, instead of what moves'
    parser.add_argument('--detections', type=pathlib.Path, help=boxes)
    parser.add_argument('--detector', type=pathlib.Path, metavar='ONNX', help='finds people instead of what moves')
    least = f'of those boxes (all; of a detector {onnx_detector.MIN_CONFIDENCE})'
    parser.add_argument('--min-confidence', type=float, help=least)
    parser.add_argument('--min-height', type=commands.positive, default=48, help='of a person, in pixels (48)')
    parser.add_argument('--min-frames', type=commands.positive, default=8, help='crops of a tracklet (8)')
    parser.add_argument(
        '--max-gap', type=commands.not_negative, default=10, help='frames that a person may be lost for (10)'
    )
    parser.add_argument('--every', type=commands.positive, default=1, help='keep the crops of every so many frames (1)')
    parser.add_argument('--until', default='', help='where to stop: date and time, or seconds of the video')
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Parses, cuts, says what came out; expected errors become one message and an exit status."""
    options = parse(argv)

    def act() -> int:
        made = cut.cut(**vars(options))
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

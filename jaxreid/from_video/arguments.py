"""What a command line says of the cutting of a video."""

import argparse
import inspect
import pathlib
from typing import Any

from jaxreid.from_video import cut, onnx_detector, video
from jaxreid.process import commands


def add(parser: argparse.ArgumentParser) -> None:
    """Tells a command the arguments of `cut.cut`."""
    what = 'of a fixed camera: a file, a folder of images, a stream (rtsp://...) or a device (/dev/video0)'
    parser.add_argument('video', type=video.place, metavar='VIDEO', help=what)
    parser.add_argument('out', type=pathlib.Path, metavar='OUT', help='folder to make')
    parser.add_argument('--camera', default='', help="name of the camera (the video's)")
    parser.add_argument('--start', default='', help='date and time of the first frame, 2026-11-21T14:00:00 (live: now)')
    parser.add_argument('--fps', type=float, help='images per second, of a folder of images')
    boxes = 'boxes in the format of MOTChallenge or COCO, instead of what moves'
    parser.add_argument('--detections', type=pathlib.Path, help=boxes)
    shares = 'those boxes are shares of the image (0 to 1), and not pixels'
    parser.add_argument('--normalised', action='store_true', help=shares)
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


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """Of parsed options, those that `cut.cut` takes."""
    return {key: value for key, value in vars(options).items() if key in inspect.signature(cut.cut).parameters}

"""People in single images, by a detector that its user brings: an ONNX file of the YOLO or the RT-DETR family.

Which layout a file has is seen from what it gives for one image (A: places of its grids, N: boxes, K: classes):

  places   [1, 4 + K, A]           YOLOv8 and later: centre and size, a score per class
  anchors  [1, 3 A, 5 + K]         YOLOv5, YOLOv7: before the classes a score that there is anything
  chosen   [1, N, 6]               YOLOv10, YOLO26, and files that choose boxes themselves: two corners, score, class
  shares   [1, N, 4 + K]           RT-DETR as Ultralytics exports it: centre and size as shares of the image, scores
  logits   logits, pred_boxes      RT-DETR as Hugging Face exports it: the same, before the sigmoid
  corners  labels, boxes, scores   RT-DETR, D-FINE as their authors export them: two corners in pixels of the image
"""

import ast
import importlib
import os
import pathlib
import types
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

MIN_CONFIDENCE = 0.25  # of a box, where nobody says
_OVERLAP = 0.7  # of two boxes, from which on they are one person's; what Ultralytics takes
_GREY = 114  # around an image that does not fill the input, as in training
_SIDE = 640  # pixels, of files that take any size and do not say theirs
_PEOPLE = ('person', 'people', 'pedestrian')


class Detector:
    """An ONNX file that gives the people of an image."""

    def __init__(self, path: str | os.PathLike, *, min_confidence: float = MIN_CONFIDENCE, min_height: float = 1):
        """Opens a file; people are `min_height` pixels high or higher.

        Raises:
          ImportError: ONNX Runtime is not installed.
          ValueError: it is no such detector; says what was found.
          OSError: there is no such file.
        """
        self._path, self._min_confidence, self._min_height = pathlib.Path(path), min_confidence, min_height
        if not self._path.is_file():
            raise FileNotFoundError(f'there is no detector {path}')
        runtime = _runtime()
        try:
            self._session = runtime.InferenceSession(str(path), providers=runtime.get_available_providers())
        except Exception as e:  # of many classes, none of them public
            raise ValueError(f'{path} is no network that ONNX Runtime can open ({e})') from e
        first, *others = self._session.get_inputs()
        shape = [size if isinstance(size, int) else None for size in first.shape]
        if len(shape) != 4 or shape[0] not in (None, 1) or shape[1] not in (None, 3):
            raise ValueError(f'{path} takes {first.shape}; expected one image, [1, 3, height, width]')
        if [one.name for one in others] not in ([], ['orig_target_sizes']):
            raise ValueError(f'{path} takes {", ".join(one.name for one in others)} too; expected one image')
        self._input, self._dtype, self._told = first.name, np.float16 if '16' in first.type else np.float32, others
        said = self._session.get_modelmeta().custom_metadata_map
        sides = _literal(said, 'imgsz', list) or [_SIDE, _SIDE]
        self._size = shape[2] or int(sides[0]), shape[3] or int(sides[-1])  # height, width
        names = _literal(said, 'names', dict) or {}
        people = [int(key) for key, name in names.items() if str(name).lower() in _PEOPLE]
        if not people and len(names) > 1:
            raise ValueError(f'{path} finds {", ".join(map(str, list(names.values())[:9]))}, and no person')
        self._person = people[0] if people else 0  # as in COCO, and of a file with one class
        self._layout = _layout(path, self._run(np.full((*self._size, 3), _GREY, np.uint8)), self._size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[n, 4] float64, left, top, width, height in pixels of the people in an image [H, W, 3] uint8 BGR."""
        size = np.array([image.shape[1], image.shape[0]])
        scale, shift = np.ones(2), np.zeros(2)  # of what the file gives, for pixels of the image
        if self._layout in ('places', 'anchors', 'chosen'):
            seen, scale, shift = _letterboxed(image, self._size)
        else:
            seen = cv2.resize(image, self._size[::-1])
        if self._layout in ('shares', 'logits'):
            scale = 1 / size
        boxes, scores = self._read(self._run(seen, size))
        boxes = np.clip((boxes.reshape(-1, 2, 2) - shift) / scale, 0, size).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
        kept = (scores >= self._min_confidence) & (boxes[:, 2] >= 1) & (boxes[:, 3] >= max(self._min_height, 1))
        boxes, scores = boxes[kept], scores[kept]
        if self._layout in ('places', 'anchors') and len(boxes):
            alone = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self._min_confidence, _OVERLAP)
            boxes = boxes[np.sort(np.asarray(alone, int).reshape(-1))]
        return boxes

    def _run(self, seen, size=(1, 1)) -> dict[str, np.ndarray]:
        """What the file gives for an image of its own size, by name."""
        pixels = np.ascontiguousarray(seen[None, :, :, ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / 255
        inputs = {self._input: pixels.astype(self._dtype)}
        inputs |= {one.name: np.array([size], np.int64) for one in self._told}
        names = [one.name for one in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def _read(self, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Two corners [n, 4] and scores [n] of people, float64, in the file's own measure."""
        if self._layout == 'corners':
            labels, boxes, scores = (given[name][0] for name in ('labels', 'boxes', 'scores'))
            return boxes.astype(np.float64), np.where(labels == self._person, scores, -1.0).astype(np.float64)
        if self._layout == 'logits':
            chances = 1 / (1 + np.exp(-given['logits'][0].astype(np.float64)))
            return _corners(given['pred_boxes'][0]), chances[:, self._person]
        rows = next(iter(given.values()))[0].astype(np.float64)
        match self._layout:
            case 'chosen':
                if (rows[:, 5] % 1).any():
                    raise ValueError(
                        f'{self._path}: the last of six numbers is {rows[:, 5].max():g}, which is no class'
                    )
                return rows[:, :4], np.where(rows[:, 5] == self._person, rows[:, 4], -1.0)
            case 'places':
                return _corners(rows.T), rows[4 + self._person]
            case 'anchors':
                return _corners(rows), rows[:, 4] * rows[:, 5 + self._person]
            case _:
                return _corners(rows), rows[:, 4 + self._person]


def _layout(path: object, given: Mapping[str, np.ndarray], size: tuple[int, int]) -> str:
    """Of the module's table."""
    if {'labels', 'boxes', 'scores'} <= given.keys():
        return 'corners'
    if {'logits', 'pred_boxes'} <= given.keys():
        return 'logits'
    first = next(iter(given.values()))
    grids = [(size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32, 64)]
    places = sum(grids[:3]), sum(grids)
    if first.ndim == 3 and first.shape[0] == 1:
        if first.shape[2] in places and first.shape[1] > 4:
            return 'places'
        if first.shape[1] in [3 * count for count in places] and first.shape[2] > 5:
            return 'anchors'
        if first.shape[1] not in places and first.shape[2] > 4:
            return 'chosen' if first.shape[2] == 6 else 'shares'
    found = ', '.join(f'{name} {list(one.shape)}' for name, one in given.items())
    raise ValueError(
        f'{path} gives {found}, which is no layout that is known ({places[0]} places, [1, 4 + classes, places]; '
        '[1, 3 x places, 5 + classes]; [1, boxes, 6]; [1, boxes, 4 + classes]; logits, pred_boxes; labels, boxes, '
        'scores). Run it yourself, and give its boxes with --detections.'
    )


def _letterboxed(image, size):
    """The image inside `size` with grey around it, and (scale, shift) of its pixels there, along x and y."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (round(side * scale) for side in image.shape[:2])
    top, left = (round((whole - side) / 2 - 0.1) for whole, side in zip(size, (height, width), strict=True))
    seen = np.full((*size, 3), _GREY, np.uint8)
    seen[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return seen, np.array([scale, scale]), np.array([left, top])


def _corners(rows):
    """[n, 4] float64 of rows that begin with centre and size."""
    rows = rows[:, :4].astype(np.float64)
    return np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], axis=1)


def _literal(said: Mapping[str, str], key: str, kind: type) -> Any:
    """A value that Ultralytics wrote into a file; None where it did not."""
    try:
        value = ast.literal_eval(said.get(key, ''))
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, kind) else None


def _runtime() -> types.ModuleType:
    try:
        return importlib.import_module('onnxruntime')
    except ImportError as e:
        raise ImportError("--detector needs ONNX Runtime: pip install 'jaxreid[detector]'") from e

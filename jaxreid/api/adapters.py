"""A network as the appearance model of trackers by others: one crop in, one feature out.

  from jaxreid.api import adapters
  encoder = adapters.Encoder(jaxreid.load('runs/strf_mars'))
  encoder.encode(frames, detections)             BoxMOT 25: a list of [N, D], one for each frame
  encoder.extract_embeddings(detections, frame)  Roboflow's reid 0.1: [N, D]

None of these packages is needed: frames and detections are taken by the attributes that they have there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid.api import embedder
from jaxreid.evaluation.ordering import ranking
from jaxreid.from_video import cut

_BATCH = 64  # crops at a time; the last ones are filled up, so that one program does for all


class Encoder:
    """Features of single crops, each as a clip of that frame, of length 1."""

    def __init__(self, network: embedder.Embedder):
        """`network`: of `jaxreid.load`.

        Raises:
          ValueError: it sees motion, which a single crop has not.
        """
        if network.experiment.data.flow == 'tvl1':
            raise ValueError('this network sees motion between frames; choose one of single frames for a tracker')
        self._network = network
        self._dim = 0

    @property
    def embedding_dim(self) -> int:
        """D."""
        if not self._dim:
            self._features([np.zeros((32, 16, 3), np.uint8)])
        return self._dim

    def encode(self, frames: Sequence[Any], detections: Sequence[Any]) -> list[Any]:
        """Features of the boxes of every frame, as BoxMOT asks for them.

        Args:
          frames: each has `image`, [3, H, W] uint8 RGB.
          detections: as many; each has `geometry.values`, [N, 4]: left, top, right, bottom in pixels.

        Returns:
          [N, D] float32 of each frame: tensors where the boxes are tensors, else arrays.

        Raises:
          ValueError: not as many detections as frames, or of other shapes.
        """
        if len(frames) != len(detections):
            raise ValueError(f'{len(frames)} frames and detections of {len(detections)}; expected one each')
        made = []
        for frame, found in zip(frames, detections, strict=True):
            boxes, image = found.geometry.values, np.asarray(frame.image)
            if image.ndim != 3 or image.shape[0] != 3:
                raise ValueError(f'an image is {list(image.shape)}; expected [3, height, width], RGB')
            features = self._features(_crops(image.transpose(1, 2, 0), np.asarray(boxes)))
            made.append(boxes.new_tensor(features.tolist()).reshape(features.shape)
                        if hasattr(boxes, 'new_tensor') else features)  # fmt: skip
        return made

    def extract_embeddings(self, detections: Any, frame: np.ndarray) -> np.ndarray:
        """[N, D] float32, features of the boxes of a frame, as Roboflow's reid gives them.

        Args:
          detections: has `xyxy`, [N, 4]: left, top, right, bottom in pixels.
          frame: [H, W, 3] uint8 BGR.

        Raises:
          ValueError: other shapes.
        """
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f'the frame is {list(frame.shape)}; expected [height, width, 3], BGR')
        return self._features(_crops(frame[..., ::-1], np.asarray(detections.xyxy)))

    def _features(self, crops):
        """[N, D] float32 of length 1, of N crops [h, w, 3] uint8 RGB."""
        if not crops:
            return np.zeros((0, self.embedding_dim), np.float32)
        parts = []
        for start in range(0, len(crops), _BATCH):
            some = crops[start : start + _BATCH]
            full = some + some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
            parts.append(self._network.embed([[crop] * (self._network.frames or 1) for crop in full])[: len(some)])
        rows = np.concatenate(parts)
        self._dim = rows.shape[1]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), ranking.SHORTEST).astype(np.float32)


def _crops(image, boxes):
    """Crops of boxes [N, 4] (two corners) of an image [H, W, 3], as `from_video` cuts them."""
    boxes = boxes.reshape(-1, 4).astype(np.float64)
    size = np.array([image.shape[1], image.shape[0]])
    low = np.clip(boxes[:, :2], 0, size - 1)
    high = np.maximum(np.clip(boxes[:, 2:], 0, size), low + 1)
    made = [cut.crop(image, np.concatenate([a, b - a])) for a, b in zip(low, high, strict=True)]
    return [np.ascontiguousarray(one) for one in made if one is not None]

"""What travels from the input pipelines to the jitted steps."""

from typing import NotRequired, TypedDict

import numpy as np


class TrainBatch(TypedDict):
    """B = P * K clips of one training step, the clips of an identity side by side."""

    clips: np.ndarray  # [B, T, H, W, 3] uint8, RGB
    labels: np.ndarray  # [B] int32, 0 ... num_ids - 1
    index: np.ndarray  # [B] int32, the clip's position in the global batch (keys its augmentation)
    flow: NotRequired[np.ndarray]  # [B, T, H, W, 2] float16, (u, v) in pixels; where data.flow is not 'off'
    cameras: NotRequired[np.ndarray]  # [B] int32, the data set's numbers; where the network is told (TF-CLIP)


class TrainRows(TypedDict):
    """What `TrainBatch` is where the devices hold the frames: which of them each clip is made of."""

    rows: np.ndarray  # [B, T] int32, rows of `device_store.DeviceStore.frames`
    labels: np.ndarray  # [B] int32
    index: np.ndarray  # [B] int32
    cameras: NotRequired[np.ndarray]  # [B] int32


class EvalBatch(TypedDict):
    """B clips of any tracklets; rows with `valid` False are padding."""

    clips: np.ndarray  # [B, T, H, W, 3] uint8, RGB
    tracklet: np.ndarray  # [B] int32, row in the list of tracklets; 0 where not valid
    valid: np.ndarray  # [B] bool
    flow: NotRequired[np.ndarray]  # [B, T, H, W, 2] float16, (u, v) in pixels; where data.flow is not 'off'
    lengths: NotRequired[np.ndarray]  # [B] int32, clips 'whole': frames from here on repeat the last and do not count
    cameras: NotRequired[np.ndarray]  # [B] int32, as in TrainBatch

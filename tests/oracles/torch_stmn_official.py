"""STMN as its released code computes it, in PyTorch's own layers on [B, L, 3, H, W], under the names that it saves.

Quirks kept: no ReLU in the stem, none at the end of the two query branches, queries cut from the [C, H, W] map without
moving channels last, keys normalised across items.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride, rectified=True):
        super().__init__()
        self.rectified = rectified
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        if inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        y = y + (self.downsample(x) if hasattr(self, 'downsample') else x)
        return F.relu(y) if self.rectified else y


def row(inputs, planes, depth, stride, last_rectified=True):
    blocks = [Bottleneck(inputs, planes, stride, depth > 1 or last_rectified)]
    blocks += [Bottleneck(4 * planes, planes, 1, i < depth - 1 or last_rectified) for i in range(1, depth)]
    return nn.Sequential(*blocks)


class Trunk(nn.Module):
    def __init__(self, width, depths):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = row(width, width, depths[0], 1)
        self.layer2 = row(4 * width, 2 * width, depths[1], 2)
        self.layer3 = row(8 * width, 4 * width, depths[2], 2)
        self.layer4_val = row(16 * width, 8 * width, depths[3], 1)
        self.layer4_key_s = row(16 * width, 8 * width, depths[3], 1, last_rectified=False)
        self.layer4_key_t = row(16 * width, 8 * width, depths[3], 1, last_rectified=False)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)), 3, 2, 1)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.layer4_val(x), self.layer4_key_s(x), self.layer4_key_t(x)


class Features(nn.Module):
    def __init__(self, width, depths):
        super().__init__()
        self.backbone = Trunk(width, depths)


class Memory(nn.Module):
    def __init__(self, items, channels, values):
        super().__init__()
        self.key = nn.Parameter(torch.empty(items, channels))
        self.val = nn.Parameter(torch.empty(items, values))

    def match(self, queries):
        per_channel = self.key / self.key.norm(dim=0, keepdim=True)
        return (F.normalize(queries, dim=1) @ per_channel.T).softmax(1)


class Stmn(nn.Module):
    def __init__(self, *, num_ids=625, width=64, depths=(3, 4, 6, 3), items=(10, 5), frames=6):
        super().__init__()
        channels = 32 * width
        self.features = Features(width, depths)
        self.smem = Memory(items[0], channels, channels)
        self.smem.bn = nn.BatchNorm1d(channels)
        self.tmem = Memory(items[1], channels, frames)
        self.tmem.lstm = nn.LSTM(channels, channels)
        self.bn_s = nn.BatchNorm1d(channels)
        self.bn_t = nn.BatchNorm1d(channels)
        self.cls_s = nn.Linear(channels, num_ids, bias=False)
        self.cls_t = nn.Linear(channels, num_ids, bias=False)

    def forward(self, clips):
        """clips [B, L, H, W, 3] -> everything worth comparing, by our names."""
        b, l = clips.shape[:2]
        val, key_s, key_t = self.features.backbone(clips.flatten(0, 1).permute(0, 3, 1, 2))
        c = val.shape[1]
        spatial_match = self.smem.match(key_s.reshape(-1, c))
        read = self.smem.bn(spatial_match @ self.smem.val).reshape(val.shape)
        frames = (val - read).mean((2, 3))
        states, _ = self.tmem.lstm(key_t.mean((2, 3)).reshape(b, l, c).transpose(0, 1))
        temporal_match = self.tmem.match(states[-1])
        weights = (temporal_match @ self.tmem.val).softmax(1)
        clip = (weights[:, :, None] * frames.reshape(b, l, c)).sum(1)
        return {
            'spatial_match': spatial_match.reshape(b, l, -1, self.smem.key.shape[0]),
            'temporal_match': temporal_match,
            'frame_weights': weights,
            'embedding_before_neck': clip,
            'embedding': self.bn_t(clip),
            'logits': self.cls_t(self.bn_t(clip)),
            'spatial_logits': self.cls_s(self.bn_s(frames)).reshape(b, l, -1).mean(1),
        }

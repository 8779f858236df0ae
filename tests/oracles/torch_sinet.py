"""SINet, SBNet, IDNet and their C2D in PyTorch on [B, C, T, H, W], under the names that SINet's public code saves.

Clip by clip and frame by frame where that is plainest, so that nothing is shared with the network under test.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tests.oracles.torch_ap3d import conv3d, randomise

__all__ = ['IntegrationDistribution', 'Network', 'SalientToBroad', 'frame_contrast', 'randomise']


def pointwise(inputs, outputs):
    return conv3d(inputs, outputs, (1, 1), bias=True)


class IntegrationDistribution(nn.Module):
    def __init__(self, channels, places, reduction):
        super().__init__()
        few, fewer = channels // reduction, places // reduction
        self.chl_reduction = nn.Sequential(pointwise(channels, few), nn.BatchNorm3d(few))
        self.chl_expansion = nn.Sequential(pointwise(few, channels))
        self.thw_reduction = nn.Sequential(nn.Conv2d(places, fewer, 1), nn.BatchNorm2d(fewer))
        self.thw_expansion = nn.Sequential(nn.Conv2d(fewer, places, 1))

    def forward(self, x):
        y = self.chl_reduction(x)
        columns = y.flatten(2).mT[..., None]  # positions as channels of an image that is one pixel wide
        columns = columns + self.thw_expansion(self.thw_reduction(columns))
        return F.relu(x + self.chl_expansion(columns[..., 0].mT.reshape(y.shape)))


class SalientToBroad(nn.Module):
    def __init__(self, channels, salient, beta=5.0, alpha=0.1):
        super().__init__()
        self.salient, self.beta, self.alpha = salient, beta, alpha
        self.kernel = nn.Sequential(pointwise(channels, 9), nn.BatchNorm3d(9), nn.ReLU())
        squeeze, excite = pointwise(channels, channels // 4), pointwise(channels // 4, channels)
        self.se = nn.Sequential(nn.AdaptiveAvgPool3d(1), squeeze, nn.ReLU(), excite, nn.Sigmoid())

    def forward(self, x):
        if x.shape[2] > 4:
            b, c, t, h, w = x.shape
            fours = x.reshape(b, c, t // 4, 4, h, w).transpose(1, 2).reshape(-1, c, 4, h, w)
            return self(fours).reshape(b, t // 4, c, 4, h, w).transpose(1, 2).reshape(x.shape)
        inner = x[:, :, :, 1:-1, 1:-1].mean((2, 3, 4), keepdim=True)
        stronger = inner / (x.mean((2, 3, 4), keepdim=True) + 1e-8) > 1
        gated = F.relu(x * self.se(x) * stronger)
        maps = self.kernel(gated[:, :, : self.salient]).flatten(2)  # [B, 9, positions]
        maps = F.normalize(F.normalize(maps, p=1, dim=1), p=1, dim=2)
        clips = []
        for clip, gates, weights in zip(x, gated, maps, strict=True):
            kernel = (gates[:, : self.salient].flatten(1) @ weights.T).reshape(1, -1, 3, 3)
            keeps = []
            for t in range(self.salient, 4):
                frame = F.pad(gates[None, :, t], (1, 1, 1, 1), mode='replicate')
                fires = F.conv2d(frame, kernel)[0, 0] / 9
                attention = fires.flatten().softmax(0).clamp(min=1e-4)
                rest = 1 / (attention * attention.numel())
                keeps.append(torch.where(rest < 1, (self.beta * (rest - 1)).exp(), 1.0).reshape(fires.shape))
            keep = torch.stack(keeps)[None]  # [1, others, H, W]
            first, other = clip[:, : self.salient], clip[:, self.salient :]
            missed = ((1 - keep) * other).sum((1, 2, 3)) / (1 - keep).sum()
            seen = first.mean((1, 2, 3))
            first = first + self.alpha * missed[:, None, None, None]
            clips.append(torch.cat([first, other * keep + self.alpha * seen[:, None, None, None]], 1))
        return torch.stack(clips)


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = pointwise(inputs, planes), nn.BatchNorm3d(planes)
        self.conv2, self.bn2 = conv3d(planes, planes, (1, 3), stride, bias=True), nn.BatchNorm3d(planes)
        self.conv3, self.bn3 = pointwise(planes, 4 * planes), nn.BatchNorm3d(4 * planes)
        if stride != 1 or inputs != 4 * planes:
            shortcut = conv3d(inputs, 4 * planes, (1, 1), stride, bias=True)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(4 * planes))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if hasattr(self, 'downsample') else x))


class Network(nn.Module):
    """`idm` and `sbm` list the bottlenecks of stages 2 and 3 that a module follows."""

    def __init__(
        self,
        *,
        num_ids=625,
        width=64,
        depths=(3, 4, 6, 3),
        idm=(1, 3),
        sbm=(1, 3, 5),
        places=4 * 32 * 16,
        reduction=16,
        projection=True,
        padding=0,
    ):
        super().__init__()
        self.padding = padding  # of the stem's maximum
        self.conv1, self.bn1 = conv3d(3, width, (1, 7), 2, bias=True), nn.BatchNorm3d(width)
        inputs = width
        for s, (depth, stride) in enumerate(zip(depths, (1, 2, 2, 1), strict=True), start=1):
            modules = []
            for i in range(depth):
                planes = width * 2 ** (s - 1)
                modules.append(Bottleneck(inputs, planes, stride if i == 0 else 1))
                inputs = 4 * planes
                if s == 2 and i in idm:
                    modules.append(IntegrationDistribution(inputs, places, reduction))
                if s == 3 and i in sbm:
                    modules.append(SalientToBroad(inputs, sbm.index(i) + 1))
            setattr(self, f'layer{s}', nn.Sequential(*modules))
        self.bn = nn.BatchNorm1d(inputs)
        self.classifier = nn.Linear(inputs, num_ids)
        if projection:
            self.projection = nn.Conv1d(inputs, inputs, 1)

    def forward(self, clips):
        """clips [B, T, H, W, 3] -> feature, embedding, logits of the clip, projected frames [B, D, T].

        The neck sees the clips and then the frames, as in the code's training.
        """
        x = F.relu(self.bn1(self.conv1(clips.movedim(-1, 1))))
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, self.padding, self.padding))
        frames = self.layer4(self.layer3(self.layer2(self.layer1(x)))).amax((3, 4))  # [B, D, T]
        feature = frames.mean(2)
        embedding = self.bn(feature)
        projected = self.projection(self.bn(frames)) if hasattr(self, 'projection') else None
        return feature, embedding, self.classifier(embedding), projected


def frame_contrast(features, pieces_per_id, temperature):
    """The InfoNCE of SINet by loops over pairs; features [B, T, D] in PyTorch, T a multiple of 4."""
    pieces = F.normalize(features.reshape(-1, 4, features.shape[-1]), dim=-1)
    total, count = 0, 0
    for first in range(0, len(pieces), pieces_per_id):
        group = [(p, i) for p in range(first, first + pieces_per_id) for i in range(4)]
        count = 0
        for p, i in group:
            cosines = {(q, j): pieces[p, i] @ pieces[q, j] / temperature for q, j in group}
            repelled = sum(cosine.exp() for (_, j), cosine in cosines.items() if j != i)
            for (q, j), cosine in cosines.items():
                if j == i and q != p:
                    total = total + (repelled + cosine.exp()).log() - cosine
                    count += 1
    return total / count

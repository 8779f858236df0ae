"""STMN in PyTorch on [B, L, 3, H, W]: as its paper describes it, or as its released code computes it.

Parameters are a flat dict of tensors under the names and in the layout of the network under test.
"""

import torch
import torch.nn.functional as F

from tests.oracles import torch_video_resnet as video


def conv(x, kernel, stride=1):
    return F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=kernel.shape[0] // 2)


def stage(x, p, bn, name, depth, stride, last_relu=True):
    for i in range(depth):
        n, step = f'{name}/block{i}', stride if i == 0 else 1
        y = torch.relu(bn(conv(x, p[f'{n}/conv1/kernel']), f'{n}/bn1'))
        y = torch.relu(bn(conv(y, p[f'{n}/conv2/kernel'], step), f'{n}/bn2'))
        y = bn(conv(y, p[f'{n}/conv3/kernel']), f'{n}/bn3')
        if f'{n}/downsample_conv/kernel' in p:
            x = bn(conv(x, p[f'{n}/downsample_conv/kernel'], step), f'{n}/downsample_bn')
        x = x + y
        if last_relu or i < depth - 1:
            x = torch.relu(x)
    return x


def match(queries, keys, released):
    keys = F.normalize(keys, dim=0 if released else 1)
    return torch.softmax(F.normalize(queries, dim=1) @ keys.T, dim=1)


def forward(p, stats, clips, *, depths, strides, released, train):
    """Outputs by name; maps in the network's layout, [B, L, H, W, ...]."""
    bn = video.normaliser(p, stats, train)
    b, l = clips.shape[:2]
    x = bn(conv(clips.flatten(0, 1), p['stem/conv1/kernel'], 2), 'stem/bn1')
    x = F.max_pool2d(x if released else torch.relu(x), 3, 2, 1)
    for s in range(3):
        x = stage(x, p, bn, f'layer{s + 1}', depths[s], strides[s])
    person = stage(x, p, bn, 'layer4', depths[3], strides[3])
    query_s = stage(x, p, bn, 'layer4_spatial', depths[3], strides[3], last_relu=False)
    query_t = stage(x, p, bn, 'layer4_temporal', depths[3], strides[3], last_relu=False).mean((2, 3))

    n, d, h, w = person.shape
    rows = query_s.reshape(-1, d) if released else query_s.permute(0, 2, 3, 1).reshape(-1, d)
    match_s = match(rows, p['spatial_memory/keys'], released)
    read = bn(match_s @ p['spatial_memory/values'], 'spatial_memory/norm')
    read = read.reshape(n, d, h, w) if released else read.reshape(n, h, w, d).permute(0, 3, 1, 2)
    refined = person - read
    frames = refined.mean((2, 3))  # [B L, D]
    frames_after = bn(frames, 'head_spatial/neck')

    recurrent = torch.nn.LSTM(d, d, batch_first=True, dtype=clips.dtype)
    weights = {f'{k}_l0': p[f'temporal_memory/lstm/{k}'] for k in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')}
    states, _ = torch.func.functional_call(recurrent, weights, query_t.reshape(b, l, d))
    match_t = match(states[:, -1], p['temporal_memory/keys'], released)
    weights = torch.softmax(match_t @ p['temporal_memory/values'], dim=1)
    clip = torch.bmm(weights[:, None], frames.reshape(b, l, d))[:, 0]
    clip_after = bn(clip, 'head_temporal/neck')
    return {
        'spatial/embedding': frames_after.reshape(b, l, d).mean(1),
        'spatial/embedding_before_neck': frames.reshape(b, l, d).mean(1),
        'spatial/logits': (frames_after @ p['head_spatial/classifier']).reshape(b, l, -1).mean(1),
        'temporal/embedding': clip_after,
        'temporal/embedding_before_neck': clip,
        'temporal/logits': clip_after @ p['head_temporal/classifier'],
        'spatial_match': match_s.reshape(b, l, h, w, -1),
        'temporal_match': match_t,
        'frame_weights': weights,
        'refinement': (refined.norm(dim=1) - person.norm(dim=1)).reshape(b, l, h, w),
        'feature_unrefined': person.mean((2, 3)).reshape(b, l, d).mean(1),
    }

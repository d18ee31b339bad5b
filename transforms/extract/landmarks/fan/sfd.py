"""S3FD (Zhang et al. 2017) in batches: box decoding and non-maximum suppression on tensors, for all images at once.

The library decodes boxes one by one in Python, half of its run time. Boxes are edges: the top left pixel covers 0 to 1.
"""

import numpy as np
import torch
from torch import Tensor, nn

from motionshards.transforms.extract.detect import Detections

_MEAN_BGR = (104.0, 117.0, 123.0)
_LEVELS = 6
_FIRST_STRIDE = 4
_PRIOR = 4  # side of the square prior, in strides
_VARIANCE = (0.1, 0.2)
THRESHOLD, _OVERLAP = 0.5, 0.3


def prepared(images: Tensor) -> Tensor:
    """Convert uint8 RGB [B,3,H,W] to the network's input: BGR minus the mean, float32."""
    mean = torch.tensor(_MEAN_BGR, device=images.device).view(1, 3, 1, 1)
    return (images.flip(1).float() - mean).contiguous(memory_format=torch.channels_last)


def candidates(outputs: list[Tensor], threshold: float = THRESHOLD) -> tuple[Tensor, Tensor, Tensor]:
    """Candidate faces, before suppression: image index int64 [K], boxes [K,4], scores [K] above the threshold.

    outputs: class scores [B,2,h,w] and box offsets [B,4,h,w] for each of six levels
    """
    found = [_of_level(outputs[2 * n], outputs[2 * n + 1], _FIRST_STRIDE << n, threshold) for n in range(_LEVELS)]
    image, boxes, scores = (torch.cat(column) for column in zip(*found, strict=True))
    return image, boxes, scores


def _of_level(classes: Tensor, offsets: Tensor, stride: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    score = classes.float().softmax(dim=1)[:, 1]
    image, row, column = torch.nonzero(score > threshold, as_tuple=True)
    offset = offsets.float().permute(0, 2, 3, 1)[image, row, column].double()
    prior = torch.stack([column, row], dim=1).double() * stride + stride / 2
    side = float(_PRIOR * stride)
    center = prior + offset[:, :2] * _VARIANCE[0] * side
    size = side * torch.exp(offset[:, 2:] * _VARIANCE[1])
    low = center - size / 2
    return image, torch.cat([low, low + size], dim=1), score[image, row, column]


def batched_nms(image: Tensor, boxes: Tensor, scores: Tensor, overlap: float = _OVERLAP) -> Tensor:
    """Greedy non-maximum suppression for all images at once. Returns the kept rows, by image and descending score.

    A box is suppressed by a better box that overlaps it and is kept. The kept set is a fixed point, reached by iterating from
    "all kept" in as many steps as the longest chain of boxes that each suppress the next, usually two or three.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(image[order], stable=True)]
    image, boxes = image[order], boxes[order]
    better = torch.ones(len(boxes), len(boxes), dtype=torch.bool, device=boxes.device).triu(1)
    beats = better & (image[:, None] == image[None]) & (_iou(boxes) > overlap)
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    while True:
        now = ~(beats & keep[:, None]).any(dim=0)
        if torch.equal(now, keep):
            return order[keep]
        keep = now


def _iou(boxes: Tensor) -> Tensor:
    """Intersection over union of each pair, [K,K]; sides are longer by 1, because the library counts pixels."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low + 1).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
    return shared / (area[:, None] + area[None] - shared)


def detect(network: nn.Module, images: Tensor) -> list[Detections]:
    """The faces of each image uint8 [B,3,H,W], highest score first; boxes in pixel centers, as outside this package."""
    image, boxes, scores = candidates(network(prepared(images)))
    rows = batched_nms(image, boxes, scores)
    owner = image[rows].cpu().numpy()
    found = (boxes[rows] - 0.5).float().cpu().numpy()
    kept = scores[rows].float().cpu().numpy()
    return [Detections(found[owner == n], kept[owner == n].astype(np.float32)) for n in range(len(images))]

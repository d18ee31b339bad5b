"""The first order motion model (Siarohin et al., "First order motion model for image animation", NeurIPS 2019).

A detector finds K keypoints, and at each the linear part of the map from an unseen reference picture to this one. From
two pictures' keypoints follows how the source's surroundings of each keypoint moved; a network joins these motions to one
flow, by which another warps the source's features and paints what was hidden.

Coordinates are (x, y) in [-1, 1]; pixel i of n lies at 2 i / (n - 1) - 1. Pictures are RGB in [0, 1]. Names of modules and
the order in which they are registered are those of the published checkpoints, whose optimizer states are numbered.

Under autocast only convolutions of features are rounded: heatmaps, coordinates, flows, jacobians and the final sigmoids are
float32, since a coordinate rounded to bf16 is off by up to a quarter of a pixel of 256.
"""

"""The first order motion model (Siarohin et al., "First order motion model for image animation", NeurIPS 2019).

A detector predicts K keypoints, each with the Jacobian of the map from an unobserved reference image to this one. The keypoints
of two images determine the motion around each keypoint. A network combines these motions to a dense flow, by which the generator
warps the source's features before it fills in what was occluded.

Coordinates are (x, y) in [-1, 1]; pixel i of n is at 2 i / (n - 1) - 1. Images are RGB in [0, 1]. Names and order of modules are
those of the published checkpoints, whose optimizer states are numbered.

Autocast applies to the convolutions of features only: heatmaps, coordinates, flows, Jacobians and final sigmoids are float32,
since a coordinate in bf16 would be off by up to a quarter of a pixel of 256.
"""

"""Training-time augmentation of batches of clips, in PyTorch: the same code on CPU and GPU.

Pixel convention, as at build time: x to the right, y down, the center of the top left pixel is (0, 0), so an image of
width w covers x from -0.5 to w - 0.5. A resize by the factor s maps x to s * (x + 0.5) - 0.5. Only `tps` uses normalized
coordinates, from -1 to 1 between the centers of the outermost pixels, as the model that uses it does.

Random parameters are drawn first, on the host and from a generator argument (`Augment.draw`, `Warp.draw`), and applied
afterwards. The result for a clip depends on its own row of the draws only, not on the device or the other clips of the batch.
"""

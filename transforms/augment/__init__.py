"""Training-time augmentation of batches of clips, in PyTorch: the same code on a GPU and on a processor.

Pixel convention, as at build time: x to the right, y down, the centre of the top left pixel is (0, 0), so a picture of
width w covers x from -0.5 to w - 0.5. A resize by the factor s maps x to s * (x + 0.5) - 0.5. `tps` alone works in
normalised coordinates, from -1 to 1 over the pixels' centres, as the model does that needs it.

Randomness is drawn first, on the host and from a generator that is passed in (`Augment.draw`, `Warp.draw`), and applied
afterwards: what happens to a clip is decided by its own row of the draws, not by the device or by the rest of the batch.
"""

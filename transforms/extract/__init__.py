"""Build-time steps, one module each: decode, sample, detect, track, crop, landmarks, quality, encode.

Pixel convention of the package: x to the right, y down, the center of the top left pixel is (0, 0), so an
image of width w covers x from -0.5 to w - 0.5. A resize by the factor s maps x to s * (x + 0.5) - 0.5.
"""

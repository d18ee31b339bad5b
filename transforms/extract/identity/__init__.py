"""Face descriptors: vectors of 128 numbers that are close for the same person and far apart for different people."""

"""Face descriptors: 128 numbers of a face that are close for the same person and far apart for others."""

"""A dataset of eight kept clips and a rejected one, for tests that read or damage a finished dataset."""

SIZE = 128
BAD_CLIP = "test/mp4/id99001/emptyvideo0/00001.mp4"

"""Stored video as mp4 in memory, outside of decoder processes: cut without decoding, or encoded."""

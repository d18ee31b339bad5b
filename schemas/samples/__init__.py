"""Encode a clip as the members of a WebDataset sample, and decode them."""

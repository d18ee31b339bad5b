"""A clip as the members of one WebDataset sample, and back."""

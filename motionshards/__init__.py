"""Talking-head and body-motion videos as WebDataset shards, streamed into PyTorch."""

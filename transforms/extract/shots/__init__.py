"""Shot boundaries of a video by TransNetV2: hard cuts, dissolves and fades."""

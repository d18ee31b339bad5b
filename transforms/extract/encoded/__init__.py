"""Images and videos in memory for exports: encoded, cut, or muxed with sound."""

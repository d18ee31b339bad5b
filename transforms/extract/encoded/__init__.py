"""Images and videos in memory as exports write them: encoded, cut, or joined with sound."""

"""Images and videos in memory as exports write them: encoded, or cut without decoding."""

"""The decoder: FFmpeg's libraries in a separate process for each clip, forked from a lean server that has loaded them."""

"""The decoder: FFmpeg's libraries in a process of its own for each clip, forked from a lean server that has loaded them."""

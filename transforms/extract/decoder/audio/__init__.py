"""Sound in a decoder: of a stretch of a video, and as FLAC. Imports modules of the decoder."""

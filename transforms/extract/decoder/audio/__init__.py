"""Audio in a decoder: the sound of an interval of a video, and FLAC. Imports modules of the decoder."""

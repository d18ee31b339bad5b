"""Measures of each stored frame: sharpness and light from the pixels, head pose from the landmarks."""

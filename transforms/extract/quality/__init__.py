"""Quality measures of each stored frame: sharpness and brightness from the pixels, head pose from the landmarks."""

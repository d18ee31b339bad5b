"""The networks of the face-alignment library, fed with batches: detection, crops, heatmaps and their decoding on tensors."""

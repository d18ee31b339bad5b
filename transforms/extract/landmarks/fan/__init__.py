"""The networks of the face-alignment library, in batches: detection, crops, heatmaps and their decoding on tensors."""

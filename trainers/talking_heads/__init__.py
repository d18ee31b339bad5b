"""Few-shot talking heads (Zakharov et al., "Few-shot adversarial learning of realistic neural talking head models", ICCV 2019).

An embedder maps K frames of a video, each with its landmark image, to a vector. A generator renders the landmark image of another
frame as the person of that vector, which determines the means and standard deviations of its features. A projection discriminator
has one vector per video. For a new person the networks are fine-tuned on a few frames (section 3.3).

Images are RGB in [0, 1]; landmark images are those of `transforms.augment.drawing`. Module names are those of the checkpoints of
the published reimplementation ("the published code"). Autocast applies to convolutions and attention; statistics, styles, scores
and losses are float32.
"""

"""Few-shot talking heads (Zakharov et al., "Few-shot adversarial learning of realistic neural talking head models", ICCV 2019).

An embedder turns K frames of a video, each with its landmark image, into one vector. A generator paints a landmark image of
another frame as the person of that vector, which sets mean and deviation of its features. A projection discriminator has a
vector of its own for every video. For a new person the networks are fine-tuned on a few frames (section 3.3).

Pictures are RGB in [0, 1], landmark images those of `transforms.augment.drawing`. Names of modules are those of the published
re-implementation's checkpoints. Under autocast convolutions and attention are rounded; statistics, styles, scores and losses
are float32.
"""

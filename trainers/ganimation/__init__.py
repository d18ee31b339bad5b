"""GANimation (Pumarola et al., "GANimation: anatomically-aware facial animation from a single image", ECCV 2018).

From a face and target action units, a generator predicts a color image and an attention mask: where the mask is 1 the face is
kept, where it is 0 it is replaced by the color. No pairs of images of a person are needed: a critic distinguishes real from
generated images and predicts their action units, and a cycle loss requires that changes can be undone.

Images are RGB in [-1, 1]. A condition is 17 intensities of OpenFace divided by 5, in the order of
`schemas.action_units.INTENSITIES`. Module names are those of the published checkpoints, including their spelling.
"""

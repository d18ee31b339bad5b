"""GANimation (Pumarola et al., "GANimation: anatomically-aware facial animation from a single image", ECCV 2018).

A generator sees a face and the action units it is to show, and gives a colour and an attention mask: where the mask is 1 the
face stays as it is, where it is 0 it is painted anew. No pair of pictures of one person is needed: a critic tells real from made
pictures and reads off their action units, and what was changed must change back.

Pictures are RGB in [-1, 1] inside. A condition is 17 intensities of OpenFace divided by 5, in the order of
`schemas.action_units.INTENSITIES`. Names of modules are those of the published checkpoints, their spelling included.
"""

"""The two-algorithm face rotator (Khungurn, "Talking head anime from a single image", 2019).

Three networks, trained one after the other: the morpher closes and opens eyes and mouth, the rotator turns the head in two ways
(it generates the face, and it warps the source by a flow, after Pumarola et al. 2018 and Zhou et al. 2016), and the combiner
blends the two and retouches the result.

Images are float [B,4,H,W], linear red, green, blue and alpha, each in [-1, 1]; see `trainers.face_rotator.color`. A pose is
[B,3]: left eye, right eye and mouth for the morpher, pitch, yaw and roll for the others; see `trainers.face_rotator.pose`. Module
names are those of the published files.

Autocast applies to the convolutions of features only: colors, masks and flows are float32.
"""

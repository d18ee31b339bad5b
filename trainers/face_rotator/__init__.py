"""The two-algorithm face rotator (Khungurn, "Talking head anime from a single image", 2019).

Three networks, trained one after the other: the morpher closes and opens eyes and mouth, the rotator turns the head in two ways
(it repaints the face, and it moves the source's own pixels by a flow, after Pumarola et al. 2018 and Zhou et al. 2016), and the
combiner blends the two and retouches the result.

Pictures are float [B,4,H,W], linear red, green, blue and alpha, each in [-1, 1]; see `trainers.face_rotator.colour`. A pose is
[B,3]: of the morpher left eye, right eye, mouth; of the others pitch, yaw and roll; see `trainers.face_rotator.pose`. Names of
modules are those of the published files.

Under autocast only convolutions of features are rounded: colours, masks and flows are float32.
"""

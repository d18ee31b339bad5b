"""Lists the packets of a video; decodes only its first frame."""

import socket
from array import array
from typing import Any

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.limits import check_count
from motionshards.transforms.extract.decoder.turn import turned
from motionshards.transforms.extract.decoder.video import Video

_AT_ONCE = 10_000


def send_packets(video: Video, reply: socket.socket) -> None:
    """Send the times of all packets that become frames, and whether frames are rotated by 90 or 270 degrees.

    Raises ClipRejected: corrupt, frame_mismatch, too_many_packets
    """
    times, first = array("q"), _First(video)
    for packet in video.packets():
        first.look(packet)
        # A packet removed by an edit list is flagged as discarded and never becomes a frame.
        if packet.is_discard or (packet.pts is None and packet.dts is None and not packet.size):
            continue
        if packet.pts is None:
            raise ClipRejected("frame_mismatch", "packets without timestamps")
        times.append(packet.pts)
        if len(times) % _AT_ONCE == 0:
            check_count(len(times), float((times[-1] - times[0]) * video.base))
    reply.sendall(wire.packed({"packets": [len(times), first.turned]}) + times.tobytes())


class _First:
    """Decodes up to the first frame: the rotation is recorded in frames only."""

    def __init__(self, video: Video) -> None:
        self._video, self._found, self.turned = video, False, False

    def look(self, packet: Any) -> None:
        """Decode the next packet if there was no frame yet. Errors are ignored here; decoding the clip reports them."""
        if self._found:
            return
        try:
            frames = self._video.decoded(packet)
        except ClipRejected:
            self._found = True
            return
        if frames:
            self._found, self.turned = True, turned(frames[0])

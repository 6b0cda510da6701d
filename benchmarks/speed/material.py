"""
The videos that are measured: real clips one after the other, looped and scaled, with sound.

Each clip keeps every frame it has, shown at 25 a second: made to another rate by doubling
frames, a video would hold many that cost an encoder nothing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

# Moving cameras, close-ups, hard cuts, foliage, a face; the largest clips there are.
_PICTURES = (
    "cockatoo.mp4",
    "street_bikes_cuts.mp4",
    "selfie_cyclist.mp4",
    "flower_vp8_vorbis.webm",
    "friday_speech_bw.mp4",
)
# Natural speech of a film, looped: the sound is masked wherever somebody speaks.
_SOUND = "friday_speech_bw.mp4"
_FRAMES_PER_SECOND = 25
_ASPECT = 16 / 9


def make_video(media: Path, folder: Path, lines: int, seconds: float) -> Path:
    """
    Return an H.264 video of so many lines, 16:9, with stereo AAC; one in `folder` is taken.

    Args:
        media: folder of the real clips.
        seconds: of the whole; each clip gets an equal part of them.
    """
    target = folder / f"{lines}_{seconds:g}.mp4"
    if target.is_file():
        return target
    command = ["ffmpeg", "-v", "error", "-y"]
    for name in (*_PICTURES, _SOUND):
        command += ["-stream_loop", "-1", "-i", str(media / name)]
    command += ["-filter_complex", _filters(lines, seconds), "-map", "[v]", "-map", "[a]"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-g", "250"]
    command += ["-c:a", "aac", "-b:a", "128k", str(target)]
    subprocess.run(command, check=True)
    return target


def _filters(lines: int, seconds: float) -> str:
    width = 2 * round(lines * _ASPECT / 2)
    frames = round(seconds * _FRAMES_PER_SECOND / len(_PICTURES))
    scaled = f"scale={width}:{lines}:force_original_aspect_ratio=increase,crop={width}:{lines}"
    times = f"setpts=N/{_FRAMES_PER_SECOND}/TB,fps={_FRAMES_PER_SECOND},trim=end_frame={frames}"
    parts = [
        f"[{n}:v]{times},{scaled},setsar=1,format=yuv420p[v{n}]" for n in range(len(_PICTURES))
    ]
    joined = "".join(f"[v{n}]" for n in range(len(_PICTURES)))
    parts.append(f"{joined}concat=n={len(_PICTURES)}[v]")
    sound = "aformat=sample_rates=48000:channel_layouts=stereo"
    parts.append(f"[{len(_PICTURES)}:a]{sound},atrim=end={seconds}[a]")
    return ";".join(parts)

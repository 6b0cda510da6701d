"""
Between the decoder's frames and the encoder's: pixel format, size, padding.

Most videos need none of this: 4:2:0 planes go through as they are.
"""

from __future__ import annotations

import av

from pipeline.media import BT601, BT709, FULL_RANGE, UNSPECIFIED, UNSPECIFIED_RANGE
from pipeline.planes import planes_of
from pipeline.video_plan import VideoPlan

# What `Planes` can view without conversion.
_DIRECT = {"yuv420p": ("yuv420p", "yuvj420p"), "yuv420p10le": ("yuv420p10le",)}
# From luma and chroma to luma and chroma the matrix plays no part. swscale refuses those that it
# does not know (YCgCo, ICtCp, constant luminance, reserved numbers), so it is told of one for both.
ANY_MATRIX = "ITU709"
_SWSCALE_MATRIX = {BT709: "ITU709", BT601: "ITU601"}
# RGB of which swscale makes luma and chroma carelessly: of 5 and 6 bits up to eight levels too
# dark, as it does not fill them up, and of bgr24 all three a unit too low. Of rgb24 neither.
_THROUGH_RGB24 = frozenset({"bgr24", "rgb555le", "bgr555le", "rgb565le", "bgr565le"})


def to_working_format(frame: av.VideoFrame, plan: VideoPlan) -> av.VideoFrame:
    """
    Return the frame as the encoder takes it: planar 4:2:0 of the plan's depth and coded size.

    A frame of another size (a stream may change it halfway) is scaled to the first one's.
    Range and matrix stay; RGB becomes the plan's matrix, limited range. Padding repeats
    the last column and row, or the last row of each field.
    """
    frame = as_understood(frame)
    fits = (frame.width, frame.height) == (plan.width, plan.height)
    if not (fits and frame.format.name in _DIRECT[plan.pixel_format]):
        frame = _converted(frame, plan)
    return _padded(frame, plan) if plan.is_padded else frame


def blank_frame(plan: VideoPlan) -> av.VideoFrame:
    """Return new memory for a frame as the encoder takes it."""
    return av.VideoFrame(plan.coded_width, plan.coded_height, plan.pixel_format)


def _converted(frame: av.VideoFrame, plan: VideoPlan) -> av.VideoFrame:
    was_rgb = is_rgb(frame)
    converted = frame.reformat(
        width=plan.width,
        height=plan.height,
        format=plan.pixel_format,
        interpolation="BICUBIC",
        src_color_range=UNSPECIFIED_RANGE if was_rgb else plan.colour.range,
        dst_color_range=plan.colour.range,
        src_colorspace=None if was_rgb else ANY_MATRIX,
        dst_colorspace=_SWSCALE_MATRIX.get(plan.colour.matrix) if was_rgb else ANY_MATRIX,
        threads=1,
    )
    return neutral(converted) if is_grey(frame) else converted


def as_understood(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame of whose samples swscale makes what they stand for."""
    name = frame.format.name
    if name.endswith("be") and f"{name[:-2]}le" in _THROUGH_RGB24:
        # It takes the bytes in their wrong order, unless it does nothing but swap them.
        frame, name = frame.reformat(format=f"{name[:-2]}le", threads=1), f"{name[:-2]}le"
    if name in _THROUGH_RGB24:
        return frame.reformat(format="rgb24", threads=1)
    return _as_ranged(frame)


def _as_ranged(frame: av.VideoFrame) -> av.VideoFrame:
    """
    Return a frame that swscale takes for what it says of its range.

    Grey it takes for full range whatever it is told: that of limited range, as monochrome HEVC
    and AV1 have it, would lose its blacks and whites. And told of a matrix it makes 10 bits of it
    up to three units lighter, or refuses one that it does not know. So grey that has a range
    becomes 4:2:0 with the same luma.
    """
    if not is_grey(frame) or frame.color_range == UNSPECIFIED_RANGE:
        return frame
    is_deep = frame.format.components[0].bits > 8
    matrix, frame.colorspace = frame.colorspace, UNSPECIFIED
    converted = frame.reformat(
        format="yuv420p10le" if is_deep else "yuv420p",
        src_color_range=FULL_RANGE,
        dst_color_range=FULL_RANGE,
        threads=1,
    )
    frame.colorspace = converted.colorspace = matrix
    converted.color_range = frame.color_range
    return neutral(converted)


def is_rgb(frame: av.VideoFrame) -> bool:
    """Whether a frame has R, G and B, or numbers of such colours."""
    return bool(frame.format.is_rgb or frame.format.has_palette)


def is_grey(frame: av.VideoFrame) -> bool:
    """Whether a frame has luma and no chroma, as opposed to RGB that happens to be grey."""
    kind = frame.format
    # Not by PyAV's `is_chroma`, which 4:4:4 has not.
    return not kind.has_palette and sum(not part.is_alpha for part in kind.components) == 1


def neutral(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a converted frame without a cast: of grey, swscale makes a chroma up to a unit low."""
    picture = planes_of(frame)
    picture.cb[:] = picture.cr[:] = 128 * picture.level
    return frame


def _padded(frame: av.VideoFrame, plan: VideoPlan) -> av.VideoFrame:
    padded = blank_frame(plan)
    # More rows than one are of an interlaced picture, and each is a line of its own field.
    step = min(plan.pad_bottom, 2)
    for source, target in zip(planes_of(frame), planes_of(padded), strict=True):
        rows, columns = source.shape
        target[:rows, :columns] = source
        target[:rows, columns:] = source[:, -1:]
        for row in range(rows, len(target)):
            target[row] = target[max(0, row - step)]
    return padded

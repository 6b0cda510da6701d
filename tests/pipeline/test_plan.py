"""Which container, encoders and tracks the output gets."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from av.audio.layout import AudioLayout

from pipeline.errors import InvalidParameters, UnsupportedMedia
from pipeline.media import AudioTrack, Colour, FieldOrder, MediaInfo, SubtitleTrack, VideoTrack
from pipeline.parameters import Parameters
from pipeline.plan import plan_output
from pipeline.settings import Settings

PICTURE = VideoTrack(
    index=0,
    codec="h264",
    width=320,
    height=240,
    pixel_format="yuv420p",
    depth=8,
    time_base=Fraction(1, 25),
    frame_rate=Fraction(25),
    stated_frames=25,
    sample_aspect=None,
    colour=Colour(2, 2, 2, 0),
    field_order=FieldOrder.PROGRESSIVE,
    display_matrix=None,
    mastering_display=None,
    content_light=None,
    ambient_light=None,
    spherical=None,
    stereo=None,
    has_alpha=False,
    has_dolby_vision=False,
    has_dynamic_hdr=False,
    has_captions=False,
    has_times=True,
)
COPY = Parameters.parse({"audio_level": "none"})
MASK = Parameters()


def sound(codec: str = "aac", rate: int = 48000, layout: str = "stereo") -> AudioTrack:
    counted = re.match(r"(\d+) channels", layout)
    channels = int(counted[1]) if counted else AudioLayout(layout).nb_channels
    return AudioTrack(1, codec, rate, channels, layout, Fraction(1, rate), None, 0)


def text(codec: str) -> SubtitleTrack:
    return SubtitleTrack(2, codec, Fraction(1, 1000), None, 0)


def info(
    video: VideoTrack = PICTURE,
    audio: tuple[AudioTrack, ...] = (),
    subtitles: tuple[SubtitleTrack, ...] = (),
) -> MediaInfo:
    return MediaInfo(
        path=Path("clip.mkv"),
        container="matroska,webm",
        start=Fraction(0),
        duration=Fraction(1),
        video=video,
        audio=audio,
        subtitles=subtitles,
        chapters=(),
        dropped=(),
        is_truncated=False,
    )


def test_a_plain_video_becomes_h264_with_aac_in_mp4() -> None:
    plan = plan_output(info(audio=(sound("vorbis"),)), MASK, Settings())
    assert (plan.container, plan.suffix, plan.video.encoder) == ("mp4", ".mp4", "libx264")
    assert plan.audio[0].encoder == "aac"
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("width", "height", "depth", "suffix"),
    [
        (16_386, 16, 8, ".mp4"),
        (16, 16_385, 8, ".mp4"),  # padded by one line
        (32_768, 16, 10, ".mp4"),
        (32_767, 15, 8, ".mkv"),  # VP9 takes it, OpenCV does not
        (16_386, 14, 10, ".mp4"),  # too low for HEVC
    ],
)
def test_a_side_that_cannot_be_encoded_is_refused_by_its_size(
    width: int, height: int, depth: int, suffix: str
) -> None:
    video = replace(PICTURE, width=width, height=height, depth=depth)
    with pytest.raises(UnsupportedMedia, match=rf"clip\.mkv is {width}x{height}; .* scale it"):
        plan_output(info(video), MASK, Settings(), suffix)


@pytest.mark.parametrize(
    ("width", "height", "depth", "suffix"),
    [
        (16_383, 1, 8, ".mp4"),
        (32_766, 16, 10, ".mp4"),
        (32_765, 1, 8, ".mkv"),
    ],
)
def test_the_largest_and_the_smallest_sides_are_taken(
    width: int, height: int, depth: int, suffix: str
) -> None:
    video = replace(PICTURE, width=width, height=height, depth=depth)
    assert plan_output(info(video), MASK, Settings(), suffix).video.width == width


@pytest.mark.parametrize(
    ("codec", "container"),
    [("aac", "mp4"), ("opus", "mp4"), ("vorbis", "matroska"), ("pcm_s16le", "matroska")],
)
def test_copied_sound_decides_the_container(codec: str, container: str) -> None:
    assert plan_output(info(audio=(sound(codec),)), COPY, Settings()).container == container


@pytest.mark.parametrize(
    ("rate", "suffix", "container"),
    [(16_000, None, "mp4"), (12_000, None, "matroska"), (12_000, ".mov", "mov")],
)
def test_copied_mp3_of_a_low_rate_does_not_fit_mp4(
    rate: int, suffix: str | None, container: str
) -> None:
    """MPEG-2.5, of which FFmpeg's muxer says that it is not standard there."""
    tracks = info(audio=(sound("mp3", rate),))
    assert plan_output(tracks, COPY, Settings(), suffix).container == container


@pytest.mark.parametrize(
    ("codec", "container"),
    [("mov_text", "mp4"), ("subrip", "matroska"), ("ass", "matroska"), ("pgssub", "matroska")],
)
def test_subtitles_decide_the_container(codec: str, container: str) -> None:
    assert plan_output(info(subtitles=(text(codec),)), MASK, Settings()).container == container


def test_a_container_that_cannot_hold_the_tracks_is_refused_by_what_does_not_fit() -> None:
    with pytest.raises(InvalidParameters, match=r"subrip subtitles; name the output \.mkv"):
        plan_output(info(subtitles=(text("subrip"),)), MASK, Settings(), ".mp4")


@pytest.mark.parametrize("codec", ["opus", "flac"])
def test_copied_sound_that_quicktime_cannot_hold_is_refused_there(codec: str) -> None:
    with pytest.raises(InvalidParameters, match=rf"{codec} sound; name the output \.mkv"):
        plan_output(info(audio=(sound(codec),)), COPY, Settings(), ".mov")


@pytest.mark.parametrize("suffix", ["", ".webm", ".avi", ".txt"])
def test_an_ending_that_is_no_output_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidParameters, match=r"use \.mp4"):
        plan_output(info(), MASK, Settings(), suffix)


@pytest.mark.parametrize(
    ("rate", "layout", "encoder"),
    [
        (48000, "7.1", "aac"),
        (8000, "mono", "aac"),
        (192000, "stereo", "flac"),
        (50000, "mono", "flac"),
        (48000, "16 channels", "pcm_s24le"),
    ],
)
def test_sound_beyond_aac_goes_out_lossless(rate: int, layout: str, encoder: str) -> None:
    plan = plan_output(info(audio=(sound("pcm_s16le", rate, layout),)), MASK, Settings())
    assert plan.audio[0].encoder == encoder
    assert bool(plan.notes) == (encoder != "aac")


@pytest.mark.parametrize(
    ("rate", "layout", "container", "encoder"),
    [
        (48000, "quad", "mp4", "flac"),
        (48000, "6.1", "mp4", "flac"),
        (192000, "5.1(side)", "mp4", "flac"),
        (48000, "3 channels", "mp4", "flac"),
        (48000, "2.1", "matroska", "flac"),
        (48000, "hexagonal", "matroska", "flac"),
        (48000, "7.1(wide)", "matroska", "flac"),
        (192000, "4.0", "matroska", "flac"),
        (48000, "5.1.4", "mp4", "pcm_s24le"),
        (48000, "16 channels", "matroska", "pcm_s24le"),
        (48000, "1 channels (FL)", "mp4", "aac"),
        (48000, "downmix", "mp4", "aac"),
    ],
)
def test_sound_goes_where_each_channel_keeps_its_speaker(
    rate: int, layout: str, container: str, encoder: str
) -> None:
    """FLAC in MP4 has numbers of channels; in Matroska it has speakers, and so has PCM in MP4."""
    plan = plan_output(info(audio=(sound("pcm_s16le", rate, layout),)), MASK, Settings())
    assert (plan.container, plan.audio[0].encoder) == (container, encoder)


@pytest.mark.parametrize("layout", ["quad", "2.1"])
def test_lossless_sound_in_quicktime_is_pcm(layout: str) -> None:
    track = sound("pcm_s16le", 48000, layout)
    plan = plan_output(info(audio=(track,)), MASK, Settings(), ".mov")
    assert plan.audio[0].encoder == "pcm_s24le"


def test_sound_whose_speakers_mp4_cannot_say_is_refused_there() -> None:
    with pytest.raises(InvalidParameters, match=r"2\.1 sound; name the output \.mkv"):
        plan_output(info(audio=(sound(layout="2.1"),)), MASK, Settings(), ".mp4")


def test_a_sphere_of_sound_that_becomes_plain_channels_is_noted() -> None:
    """As of 360-degree video; copied it keeps what its codec says of that."""
    sphere = (replace(sound("opus"), channels=4, layout="ambisonic 1"),)
    notes = plan_output(info(audio=sphere), MASK, Settings()).notes
    assert any("mark that it is ambisonic" in note for note in notes)
    assert not plan_output(info(audio=sphere), COPY, Settings()).notes


def test_speakers_that_matroska_cannot_say_are_noted() -> None:
    plan = plan_output(info(audio=(sound(layout="5.1.4"),)), MASK, Settings(), ".mkv")
    assert plan.audio[0].encoder == "pcm_s24le"
    assert any("speaker" in note and "5.1.4" in note for note in plan.notes)


def test_ten_bits_or_hdr_become_hevc_under_apples_name() -> None:
    deep = replace(PICTURE, depth=10, pixel_format="yuv420p10le")
    hdr = replace(PICTURE, colour=Colour(9, 16, 9, 1))
    for track in (deep, hdr):
        video = plan_output(info(track), MASK, Settings()).video
        assert (video.encoder, video.codec_tag) == ("libx265", "hvc1")
        assert video.pixel_format == "yuv420p10le"


@pytest.mark.parametrize(("threads", "pools"), [(0, None), (1, "1"), (3, "3")])
def test_the_pool_of_x265_has_as_many_threads_as_are_set(threads: int, pools: str | None) -> None:
    """By itself it has one for each core, however few frames are worked on at once."""
    deep = replace(PICTURE, depth=10, pixel_format="yuv420p10le")
    options = plan_output(info(deep), MASK, Settings(threads=threads)).video.options
    set_ = dict(option.split("=") for option in options["x265-params"].split(":"))
    assert set_.get("pools") == pools


@pytest.mark.parametrize(("width", "is_kept"), [(16, False), (48, False), (64, True), (320, True)])
def test_x265_has_no_tree_of_costs_for_narrow_pictures(width: int, is_kept: bool) -> None:
    """It writes beyond its memory there."""
    narrow = replace(PICTURE, width=width, pixel_format="yuv420p10le", depth=10)
    options = plan_output(info(narrow), MASK, Settings()).video.options
    assert ("cutree=0" not in options["x265-params"].split(":")) == is_kept


def test_grey_that_is_said_to_be_rgb_keeps_its_range() -> None:
    """As a PNG's: its levels go out as they are, and would be stretched by another mark."""
    grey = replace(PICTURE, pixel_format="gray", colour=Colour(2, 2, 0, 2))
    assert plan_output(info(grey), MASK, Settings()).video.colour == Colour(2, 2, 6, 2)


@pytest.mark.parametrize(
    "pixel_format", ["rgb24", "bgra", "argb", "abgr", "0rgb", "0bgr", "gbrp", "x2rgb10le", "pal8"]
)
@pytest.mark.parametrize(("height", "matrix"), [(720, 1), (576, 6)])
def test_rgb_gets_the_matrix_that_players_assume_for_its_size(
    pixel_format: str, height: int, matrix: int
) -> None:
    """By its name: a file of RGB need not state that it is."""
    picture = replace(PICTURE, height=height, pixel_format=pixel_format, colour=Colour(2, 2, 2, 0))
    colour = plan_output(info(picture), MASK, Settings()).video.colour
    assert (colour.matrix, colour.range) == (matrix, 1)


@pytest.mark.parametrize("odd_size", ["pad", "keep"])
def test_ten_bits_of_an_odd_size_are_padded_in_mp4_and_eight_in_matroska(odd_size: str) -> None:
    odd = info(replace(PICTURE, width=321, height=241, depth=10))
    settings = Settings(odd_size=odd_size)
    padded = plan_output(odd, MASK, settings)
    assert (padded.video.encoder, padded.video.pixel_format) == ("libx265", "yuv420p10le")
    assert (padded.video.pad_right, padded.video.pad_bottom) == (1, 1)
    kept = plan_output(odd, MASK, settings, ".mkv")
    assert (kept.video.encoder, kept.video.pixel_format) == ("libvpx-vp9", "yuv420p")
    assert any("10 bits are not kept" in note for note in kept.notes)


def test_an_odd_size_is_padded_by_default_and_kept_on_request() -> None:
    odd = info(replace(PICTURE, width=321, height=241))
    padded = plan_output(odd, MASK, Settings()).video
    assert (padded.coded_width, padded.coded_height) == (322, 242)
    assert padded.is_padded
    kept = plan_output(odd, MASK, Settings(odd_size="keep")).video
    assert (kept.coded_width, kept.coded_height, kept.encoder) == (321, 241, "libvpx-vp9")
    assert not kept.is_padded


def test_what_is_lost_is_said() -> None:
    track = replace(PICTURE, has_alpha=True, has_dynamic_hdr=True, depth=12)
    notes = " ".join(plan_output(info(track), MASK, Settings()).notes)
    assert "alpha" in notes
    assert "HDR10+" in notes
    assert "12 bits" in notes


def test_captions_are_said_to_be_lost_where_the_codec_has_none() -> None:
    track = replace(PICTURE, has_captions=True)
    assert not plan_output(info(track), MASK, Settings()).notes
    odd = replace(track, width=321)
    (note,) = plan_output(info(odd), MASK, Settings(odd_size="keep")).notes
    assert "captions" in note


@pytest.mark.parametrize(
    ("order", "option"), [(FieldOrder.TOP_FIRST, "tff=1"), (FieldOrder.BOTTOM_FIRST, "bff=1")]
)
def test_interlacing_is_told_to_the_encoder(order: FieldOrder, option: str) -> None:
    video = plan_output(info(replace(PICTURE, field_order=order)), MASK, Settings()).video
    assert video.options["x264-params"] == option


@pytest.mark.parametrize(
    ("height", "order", "coded"),
    [
        (486, FieldOrder.TOP_FIRST, 488),
        (241, FieldOrder.BOTTOM_FIRST, 244),
        (243, FieldOrder.TOP_FIRST, 244),
        (488, FieldOrder.TOP_FIRST, 488),
        (486, FieldOrder.PROGRESSIVE, 486),
    ],
)
def test_an_interlaced_picture_is_padded_to_a_height_that_h264_takes(
    height: int, order: FieldOrder, coded: int
) -> None:
    picture = replace(PICTURE, height=height, field_order=order)
    video = plan_output(info(picture), MASK, Settings()).video
    assert (video.height, video.coded_height, video.encoder) == (height, coded, "libx264")


def test_where_padding_cannot_be_hidden_the_mark_of_interlacing_goes_and_is_noted() -> None:
    picture = replace(PICTURE, height=486, field_order=FieldOrder.TOP_FIRST)
    plan = plan_output(info(picture), MASK, Settings(), ".mkv")
    assert (plan.video.coded_height, plan.video.encoder) == (486, "libx264")
    assert "x264-params" not in plan.video.options
    assert any("interlaced" in note for note in plan.notes)
    fitting = plan_output(info(replace(picture, height=480)), MASK, Settings(), ".mkv")
    assert fitting.video.options["x264-params"] == "tff=1"
    assert not fitting.notes


@pytest.mark.parametrize(
    ("colour", "kept"),
    [
        (Colour(22, 1, 1, 1), Colour(2, 1, 1, 1)),
        (Colour(1, 1, 15, 1), Colour(1, 1, 2, 1)),
        (Colour(12, 13, 14, 1), Colour(12, 13, 14, 1)),
    ],
)
def test_numbers_of_colours_that_x264_does_not_write_are_named(
    colour: Colour, kept: Colour
) -> None:
    plan = plan_output(info(replace(PICTURE, colour=colour)), MASK, Settings())
    assert plan.video.colour == kept
    assert any("colour description" in note for note in plan.notes) == (colour != kept)


@pytest.mark.parametrize(("width", "height"), [(12, 64), (64, 12)])
def test_a_picture_too_small_for_hevc_has_eight_bits(width: int, height: int) -> None:
    small = replace(PICTURE, width=width, height=height, pixel_format="yuv420p10le", depth=10)
    plan = plan_output(info(small), MASK, Settings())
    assert (plan.video.encoder, plan.video.pixel_format) == ("libx264", "yuv420p")
    assert any("10 bits are not kept" in note for note in plan.notes)

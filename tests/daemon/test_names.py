"""What the name of a dropped file says of it."""

from __future__ import annotations

import pytest

from daemon import names

EXTENSIONS = (".mp4", ".mov", ".avi", ".mkv", ".webm")


@pytest.mark.parametrize(
    "name",
    [
        "clip.mp4",
        "CLIP.MP4",
        "clip.MoV",
        "clip.part.mp4",
        "a.b.c.webm",
        "naïve фильм.mkv",
        "line\nbreak.avi",
        "not utf-8 \udcff.mp4",
        "part.mp4",
        "x" * 251 + ".mp4",
    ],
)
def test_a_video_is_known_by_its_last_extension(name: str) -> None:
    assert names.is_video(name, EXTENSIONS)
    assert not names.is_left_alone(name)


@pytest.mark.parametrize(
    "name", ["clip.txt", "mp4", "clip", "clip.mp4.txt", "clip.mp4x", "clip.mp4 ", "clip.mp4.yaml"]
)
def test_other_names_are_no_videos(name: str) -> None:
    assert not names.is_video(name, EXTENSIONS)
    assert not names.is_left_alone(name)


@pytest.mark.parametrize(
    "name",
    [
        "clip.mp4.part",
        "clip.mp4.PART",
        "clip.mp4.filepart",
        "clip.mp4.tmp",
        "clip.mp4.partial",
        "clip.mp4.crdownload",
        "clip.mp4.download",
        "clip.mp4.!ut",
        "clip.mp4.!qB",
        "clip.mp4.aria2",
        "clip.mp4~",
        "clip.yaml.swp",
        ".clip.mp4",
        ".clip.mp4.Xy12aB",
        "._clip.mp4",
        ".sftpgo-upload.abc.clip.mp4",
        ".ocTransferId123.part",
        "~clip.mp4",
        "~$clip.mp4",
        ".mp4",
        ".DS_Store",
        ".media-cleaner",
        "@eaDir",
        "@eadir",
        "#recycle",
        "lost+found",
        "Thumbs.db",
    ],
)
def test_unfinished_transfers_and_litter_are_left_alone(name: str) -> None:
    assert names.is_left_alone(name)
    assert not names.is_video(name, EXTENSIONS)
    assert not names.is_sidecar(name)


def test_extensions_are_those_that_are_given() -> None:
    assert names.is_video("clip.ts", (".ts",))
    assert not names.is_video("clip.mp4", (".ts",))


def test_sidecars_the_best_name_first() -> None:
    assert names.sidecar_names("my.clip.MP4") == (
        "my.clip.MP4.yaml",
        "my.clip.MP4.yml",
        "my.clip.MP4.YAML",
        "my.clip.MP4.YML",
        "my.clip.yaml",
        "my.clip.yml",
        "my.clip.YAML",
        "my.clip.YML",
    )


def test_sidecars_are_known_by_their_extension() -> None:
    assert names.is_sidecar("clip.mp4.yaml")
    assert names.is_sidecar("clip.yml")
    assert not names.is_sidecar("clip.yaml.part")
    assert not names.is_sidecar(".clip.yaml")
    assert not names.is_sidecar("clip.mp4")


def test_stems_of_a_video_and_its_sidecar_agree() -> None:
    assert names.stem("a/my.clip.mp4") == names.stem("a/my.clip.yaml") == "a/my.clip"

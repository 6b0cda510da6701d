"""What config.yaml may say, and what is said of it where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import Config, current_config, default_config, find_config, load_config
from daemon.errors import ConfigError
from pipeline.parameters import AudioLevel, Mode, Parameters
from pipeline.settings import FaceSettings, Limits, Settings


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str) -> Config:
    return load_config(written(folder, text))


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return caught.value.message


def test_an_empty_file_gives_every_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")
    assert config.settings == Settings()
    assert config.parameters == Parameters()
    assert config.folders == default_config(tmp_path).folders
    assert config.folders["outbox"] == tmp_path / "outbox"


def test_every_setting_reaches_the_pipeline(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        surrogate: [resnet18, mobilenet_v2]
        weights: {resnet18: nets/r18.pth}
        faces: {detector: nets/yunet.onnx, embedders: [nets/sface.ONNX, /srv/mine.pt]}
        speech: {recognisers: [nets/tiny.TS, /srv/base.pt]}
        device: cpu
        crf: 18
        preset: slow
        odd_size: keep
        limits: {max_pixels: 1000, max_duration_h: 0.5, max_streams: 3, max_fps: 60,
                 worker_memory_gb: 2}
        """,
    )
    assert config.settings == Settings(
        surrogates=("resnet18", "mobilenet_v2"),
        weights={"resnet18": tmp_path / "nets/r18.pth"},
        crf=18,
        preset="slow",
        odd_size="keep",
        faces=FaceSettings(
            tmp_path / "nets/yunet.onnx", (tmp_path / "nets/sface.ONNX", Path("/srv/mine.pt"))
        ),
        recognisers=(tmp_path / "nets/tiny.TS", Path("/srv/base.pt")),
        device="cpu",
        limits=Limits(1000, 0.5, 3, 60.0, 2.0),
    )


@pytest.mark.parametrize("suffix", ["onnx", "pt", "pth", "ts", "torchscript"])
def test_one_embedder_needs_no_list(tmp_path: Path, suffix: str) -> None:
    config = loaded(tmp_path, f"faces: {{detector: y.onnx, embedders: s.{suffix}}}")
    assert config.settings.faces == FaceSettings(tmp_path / "y.onnx", (tmp_path / f"s.{suffix}",))


def test_faces_are_left_alone_where_none_of_their_files_is_named(tmp_path: Path) -> None:
    for text in ("faces: {}", "faces: {detector: null, embedders: []}"):
        assert not loaded(tmp_path, text).settings.faces


@pytest.mark.parametrize("suffix", ["pt", "pth", "ts", "torchscript"])
def test_one_recogniser_of_speech_needs_no_list(tmp_path: Path, suffix: str) -> None:
    config = loaded(tmp_path, f"speech: {{recognisers: w.{suffix}}}")
    assert config.settings.recognisers == (tmp_path / f"w.{suffix}",)


def test_no_recogniser_of_speech_is_asked_where_none_is_named(tmp_path: Path) -> None:
    for text in ("speech: {}", "speech: {recognisers: []}"):
        assert loaded(tmp_path, text).settings == Settings()


def test_defaults_are_the_parameters_of_a_task(tmp_path: Path) -> None:
    config = loaded(tmp_path, "defaults: {epsilon: 0.08, audio_level: strong, mode: strip}")
    assert config.parameters == Parameters(
        epsilon=0.08, audio_level=AudioLevel.STRONG, mode=Mode.STRIP
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "inboxes: [{name: studio, inbox: b, defaults: {epsilon: 9}}]",
            "inboxes.studio.defaults: epsilon is 9",
        ),
        (
            "inboxes: [{name: studio, inbox: b, colour: red}]",
            "inbox studio: inboxes.0.colour is not a known key",
        ),
        (
            "inboxes: [{name: a, inbox: a}, {name: studio}]",
            "inbox studio: inboxes.1.inbox is missing; give a folder's path.",
        ),
        (
            "inboxes: [{inbox: /srv/b}]",
            "inbox /srv/b: inboxes.0.name is missing; give 1 to 64 letters",
        ),
        ("inboxes: [7]", "inboxes.0 is 7"),
        ("inboxes: !!set {a}", "inboxes.0 is 'a'"),
        ("defaults: {epsilon: 9}", "defaults: epsilon is 9"),
    ],
)
def test_what_is_wrong_with_an_inbox_names_it(tmp_path: Path, text: str, message: str) -> None:
    assert message in complaint(tmp_path, text)


def test_a_default_webhook_may_be_private_where_that_is_allowed(tmp_path: Path) -> None:
    text = "defaults: {webhook_url: 'http://10.0.0.1/'}\nwebhook: {allow_private: true}"
    assert loaded(tmp_path, text).parameters.webhook_url == "http://10.0.0.1/"


def test_an_inbox_adds_its_own_defaults_and_outbox(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        inboxes:
          - {name: plain, inbox: a}
          - {name: studio, inbox: /srv/b, outbox: b-out, defaults: {epsilon: 0.2}}
        defaults: {epsilon: 0.08, every_n_frames: 5}
        """,
    )
    plain, studio = config.inboxes
    assert config.defaults_of(plain).epsilon == 0.08
    assert config.defaults_of(studio) == Parameters(epsilon=0.2, every_n_frames=5)
    assert config.folders["inboxes.studio.inbox"] == Path("/srv/b")
    assert config.folders["inboxes.studio.outbox"] == tmp_path / "b-out"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crff: 20", ["crff", "known"]),
        ("limits: {max_pixel: 20}", ["limits.max_pixel", "known"]),
        ("inboxes: [{name: a, inbox: a, colour: red}]", ["inboxes.0.colour", "known"]),
        ('state: "\\uD800"', ["state is", "a folder's path"]),
        ("crf: 52", ["crf is 52", "from 0 to 51"]),
        ("crf: 20.5", ["crf is 20.5", "whole number"]),
        ('crf: "20"', ["crf is '20'", "whole number"]),
        ("crf: yes", ["crf is True", "whole number"]),
        ("preset: turbo", ["preset is 'turbo'", "veryfast"]),
        ('auth: {required: "no"}', ["auth.required is 'no'", "true or false"]),
        ("auth: {required: 0}", ["auth.required is 0", "true or false"]),
        ('webhook: {allow_private: "on"}', ["webhook.allow_private is 'on'", "true or false"]),
        ("odd_size: no", ["odd_size is False", "pad or keep", "put text in quotes"]),
        ("defaults: {audio_level: no}", ["audio_level is False", "none", "put text in quotes"]),
        ("device: gpu", ["device is 'gpu'", "auto, cpu or cuda"]),
        ("surrogate: []", ["surrogate is []", "embedded"]),
        ("surrogate: [embedded, resnet18]", ["surrogate is", "embedded"]),
        ("surrogate: 18", ["surrogate is 18", "embedded"]),
        ("faces: {detectr: y.onnx}", ["faces.detectr", "known"]),
        ("faces: {detector: y.onnx}", ["faces is {'detector': 'y.onnx'}", "both or neither"]),
        ("faces: {embedders: s.onnx}", ["faces is {'embedders': 's.onnx'}", "both or neither"]),
        ("faces: {detector: y.onnx, embedders: []}", ["faces is", "both or neither"]),
        ("faces: off", ["faces is False", "detector and embedders"]),
        ("faces: {detector: y.pt, embedders: s.pt}", ["faces.detector is 'y.pt'", "a .onnx file"]),
        ("faces: {detector: 7, embedders: s.pt}", ["faces.detector is 7", "a .onnx file"]),
        ("faces: {detector: y.onnx, embedders: s.pb}", ["faces.embedders.0 is 's.pb'", ".pth"]),
        ("faces: {detector: y.onnx, embedders: [s]}", ["faces.embedders.0 is 's'", ".pth"]),
        ("faces: {detector: y.onnx, embedders: 7}", ["faces.embedders is 7", ".onnx"]),
        (
            "faces: {detector: y.onnx, embedders: [s.pt, ./s.pt]}",
            ["faces.embedders is", "each once"],
        ),
        ("speech: {recogniser: w.pt}", ["speech.recogniser", "known"]),
        ("speech: w.pt", ["speech is 'w.pt'", "allowed is recognisers"]),
        ("speech: off", ["speech is False", "put text in quotes"]),
        ("speech: {recognisers: w.onnx}", ["speech.recognisers.0 is 'w.onnx'", "TorchScript"]),
        ("speech: {recognisers: [w.ONNX]}", ["speech.recognisers.0 is 'w.ONNX'", "TorchScript"]),
        ("speech: {recognisers: [w]}", ["speech.recognisers.0 is 'w'", ".torchscript"]),
        ("speech: {recognisers: [a.pt, w.bin]}", ["speech.recognisers.1 is 'w.bin'", ".pth"]),
        ("speech: {recognisers: 7}", ["speech.recognisers is 7", "a list of paths"]),
        ("speech: {recognisers: null}", ["speech.recognisers is None", "a list of paths"]),
        ("speech: {recognisers: [w.pt, ./w.pt]}", ["speech.recognisers is", "each once"]),
        ("limits: {max_fps: 0}", ["limits.max_fps is 0", "above 0"]),
        ("limits: {max_duration_h: .inf}", ["limits.max_duration_h is inf", "above 0"]),
        ("limits: {max_streams: true}", ["limits.max_streams is True"]),
        ("outbox: 12", ["outbox is 12", "a folder's path"]),
        ("inboxes: [{name: a/b, inbox: a}]", ["inboxes.0.name is 'a/b'", "letters"]),
        ("inboxes: [{name: a, inbox: a}, {name: a, inbox: b}]", ["inboxes", "once"]),
        ("inboxes: [{name: a}]", ["inboxes.0.inbox", "a folder's path"]),
        ("defaults: {epsilon: 0.5}", ["defaults", "epsilon is 0.5", "0.04 to 0.20"]),
        ("defaults: {epsilo: 0.1}", ["defaults", "epsilo", "known are epsilon"]),
        ("defaults: {webhook_url: 'http://10.0.0.1/'}", ["defaults: webhook_url", "allow_private"]),
        (
            "inboxes: [{name: a, inbox: a, defaults: {webhook_url: 'http://u:p@example.org/'}}]",
            ["inboxes.a.defaults: webhook_url", "leave it out"],
        ),
        ("defaults: {user_id: 007}", ["user_id is 7", "digits", "put text in quotes"]),
        ("defaults: {notes: 2024-01-01}", ["notes is", "text of at most", "put text in quotes"]),
        ("inboxes: [{name: 2024, inbox: a}]", ["name is 2024", "digits", "put text in quotes"]),
        (
            "inboxes: [{name: a, inbox: a, defaults: {mode: x}}]",
            ["mode is 'x'", "protect or strip"],
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    message = complaint(tmp_path, text)
    assert "\n" not in message
    for word in ["config.yaml", *words]:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "webhook: {secret: 1234567890123456789}",
        "webhook: {secret: short-1234567}",
        "webhook: {secret: '" + "1234567" * 40 + "'}",
        "webhook: {secret: [1234567]}",
        "webhook: whsec_1234567",
        "webhook: {allow_private: whsec_1234567}",
        "webhook: {secret:Qa1234567890123456}",
        "webhook: {Qa1234567890123456}",
        "secret=Qa1234567: ",
        "cleanup_hour:\n  webhook:\n    secret: Qa1234567",
        "webhook:\n  secret: !Qa1234567",
        "webhook:\n  secret:\n    !Qa1234567",
        "webhook: !Qa1234567",
        "webhook:\n  secret: !<Qa1234567> x",
        "webhook:\n  secret: !!Qa1234567",
        "webhook:\n  secret: !!int Qa1234567",
        "webhook:\n  secret: !!float Qa1234567",
        "webhook:\n  secret: !!bool Qa1234567",
        "webhook: {secret: !!timestamp Qa1234567}",
        "webhook:\n  secret: 0123456712345670",
        "webhook:\n  secret: 1234567890123456:12",
    ],
)
def test_a_secret_that_cannot_be_one_is_not_told_to_the_log(tmp_path: Path, text: str) -> None:
    message = complaint(tmp_path, text)
    assert "not shown here" in message
    assert "1234567" not in message


def test_a_secret_that_is_too_short_says_what_one_is(tmp_path: Path) -> None:
    message = complaint(tmp_path, "webhook: {secret: short}")
    assert "allowed is whsec_ and at least 16 random bytes in base64" in message


@pytest.mark.parametrize("key", ["secrets", "allow-private", "allow_private_net"])
def test_a_slip_in_the_name_of_a_key_beside_the_secret_is_named(tmp_path: Path, key: str) -> None:
    message = complaint(tmp_path, f"webhook: {{{key}: Qa1234567890123456}}")
    assert f"webhook.{key} is not a known key" in message
    assert "1234567" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crf: 20\ncrf: 21", ["line 2", "crf", "twice"]),
        ("limits: {max_fps: 1, max_fps: 2}", ["max_fps", "twice"]),
        ("a: &a [1]\nb: *a", ["line 2", "aliases"]),
        ("port: 80\ncleanup_hour: 010", ["line 2", "010", "octal"]),
        ("limits: {max_duration_h: 1:30}", ["line 1", "1:30", "colon"]),
        ("task_timeout_hours: 1:30.5", ["1:30.5", "colon"]),
        ("max_pending: 1" + ":0" * 3000, ["line 1", "colon"]),
        ("[" * 200_000, ["deeply"]),
        ("crf: [1", ["line"]),
        ("- crf", ["config.yaml"]),
        ("on: 1", ["True", "quotes"]),
        ("crf: 20\nx: 2024-99-99", ["line 2", "no timestamp", "quotes"]),
        ("crf: !!int twenty", ["line 1", "no int"]),
        ("!!python/object/apply:os.system ['true']", ["line 1"]),
        ("#" + "x" * 1_100_000, ["larger"]),
    ],
)
def test_yaml_that_is_wrong_or_hostile_is_refused(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    message = complaint(tmp_path, text)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_number_that_means_the_same_to_everybody_may_begin_with_a_zero(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "cleanup_hour: 02\nsettle_s: 0.50\nmax_pending: 1_000"))
    assert (config.cleanup_hour, config.settle_s, config.max_pending) == (2, 0.5, 1000)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"crf: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(path)


def test_the_file_is_the_one_named_then_the_environments_then_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDIA_CLEANER_CONFIG", raising=False)
    assert find_config(None) is None
    written(tmp_path, "crf: 30")
    assert find_config(None) == Path("config.yaml")
    monkeypatch.setenv("MEDIA_CLEANER_CONFIG", "other.yaml")
    assert find_config(None) == Path("other.yaml")
    assert find_config(Path("third.yaml")) == Path("third.yaml")


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        current_config(tmp_path / "none.yaml")


def test_without_any_file_the_defaults_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDIA_CLEANER_CONFIG", raising=False)
    assert current_config(None).settings == Settings()

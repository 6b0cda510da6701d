"""Which recognisers of speech are loaded, what they are asked, and what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import SurrogateUnavailable
from pipeline.recognisers import (
    Recogniser,
    Recognisers,
    find_recogniser_obstacles,
    likeness,
    load_recognisers,
)
from pipeline.settings import Settings
from pipeline.speech import RATE

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
SECONDS = (1, 2.4, 9)


class Small(nn.Module):
    """Hears a moment of 25 ms every 20 ms; dropout makes a module in training mode restless."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = nn.Conv1d(1, 12, 400, stride=320)
        self.dropout = nn.Dropout(0.5)

    def forward(self, sound: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.moments(sound[:, None]))).transpose(1, 2)


class Several(Small):
    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.tanh(self.moments(sound[:, None])).transpose(1, 2)
        return features, features.argmax(2)


class Whole(Small):
    """Hears the sound as a whole."""

    def forward(self, sound: Tensor) -> Tensor:
        return torch.tanh(self.moments(sound[:, None])).mean(2)


class Once(Small):
    """Answers with one moment, whatever the sound's length."""

    def forward(self, sound: Tensor) -> Tensor:
        return torch.tanh(self.moments(sound[:, None])).mean(2)[:, None]


class Flat(Small):
    def forward(self, sound: Tensor) -> Tensor:
        return torch.tanh(self.moments(sound[:, None])).flatten()


class Map(Small):
    """Has a dimension too many."""

    def forward(self, sound: Tensor) -> Tensor:
        return torch.tanh(self.moments(sound[:, None])).transpose(1, 2)[..., None]


class Detached(Small):
    def forward(self, sound: Tensor) -> Tensor:
        return torch.tanh(self.moments(sound.detach()[:, None])).transpose(1, 2)


class Rounded(Small):
    """Passes a gradient of zeros."""

    def forward(self, sound: Tensor) -> Tensor:
        return torch.round(self.moments(sound[:, None]) * 9).transpose(1, 2)


class Undefined(Small):
    def forward(self, sound: Tensor) -> Tensor:
        return torch.log(self.moments(sound[:, None]) - 1e9).transpose(1, 2)


class Scaled(Small):
    """Makes each moment as loud as the others: of silence, no number."""

    def forward(self, sound: Tensor) -> Tensor:
        moments = sound.unfold(1, 320, 320)
        return torch.tanh(moments / moments.square().mean(2, keepdim=True).sqrt())


class OneLength(Small):
    """Takes two seconds and nothing else, as one whose places were traced."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 2 * RATE // 320, 12))

    def forward(self, sound: Tensor) -> Tensor:
        padded = nn.functional.pad(sound, [0, 80])
        return torch.tanh(self.moments(padded[:, None])).transpose(1, 2) + self.places


class Short(Small):
    """Has places for four seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 4 * RATE // 320, 12))

    def forward(self, sound: Tensor) -> Tensor:
        moments = torch.tanh(self.moments(sound[:, None])).transpose(1, 2)
        return moments + self.places[:, : moments.shape[1]]


class Filled(Small):
    """Fills its input up to ten seconds, as one that was traced whole."""

    def forward(self, sound: Tensor) -> Tensor:
        whole = nn.functional.pad(sound, [0, 10 * 16000 - sound.shape[1]])
        return torch.tanh(self.moments(whole[:, None])).transpose(1, 2)


class NoTensor(Small):
    def forward(self, sound: Tensor) -> dict[str, Tensor]:
        return {"moments": self.moments(sound[:, None])}


class Telling(Small):
    """Refuses in its own words."""

    def forward(self, sound: Tensor) -> Tensor:
        if sound.shape[1] > 100:
            raise ValueError("a hundred samples are enough")
        return self.moments(sound[:, None]).transpose(1, 2)


def write(path: Path, kind: type[Small] = Small, seed: int = 0) -> Path:
    """Write a network as TorchScript, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.jit.script(kind()).save(str(path))
    return path


def load(*files: Path) -> Recognisers:
    recognisers = load_recognisers(Settings(recognisers=files, device="cpu"))
    assert recognisers is not None
    return recognisers


def sound(seconds: float = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(round(seconds * RATE), generator=generator) * 0.1


def test_nothing_is_loaded_by_default() -> None:
    assert load_recognisers(Settings()) is None
    assert find_recogniser_obstacles(Settings()) == ()


def test_what_is_named_is_loaded_in_its_order(tmp_path: Path) -> None:
    files = write(tmp_path / "b.ts"), write(tmp_path / "a.pt", seed=1)
    recognisers = load(*files)
    assert recognisers.names == ("b.ts", "a.pt")
    assert recognisers.device == torch.device("cpu")
    first, second = (network.features(sound()) for network in recognisers.networks)
    assert not torch.equal(first, second)
    assert find_recogniser_obstacles(Settings(recognisers=files)) == ()


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("kind", [Small, Several])
def test_features_are_rows_of_what_the_network_answers_first(
    tmp_path: Path, kind: type[Small], seconds: float
) -> None:
    (network,) = load(write(tmp_path / "net.ts", kind)).networks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        original = Small().eval()
    features = network.features(sound(seconds))
    assert features.shape == (1 + (round(seconds * RATE) - 400) // 320, 12)
    torch.testing.assert_close(features, original(sound(seconds)[None])[0])


def test_parameters_are_frozen_and_gradients_pass(tmp_path: Path) -> None:
    (network,) = load(write(tmp_path / "net.ts")).networks
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    leaf = sound().requires_grad_()
    assert torch.autograd.grad(network.features(leaf).sum(), leaf)[0].any()


def test_a_network_that_was_traced_or_frozen_is_taken(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Small().eval()
    traced = torch.jit.trace(module, sound(3)[None])
    traced.save(str(tmp_path / "traced.ts"))
    torch.jit.freeze(traced).save(str(tmp_path / "frozen.ts"))
    for network in load(tmp_path / "traced.ts", tmp_path / "frozen.ts").networks:
        torch.testing.assert_close(network.features(sound()), module(sound()[None])[0])


def test_likeness_weighs_moments() -> None:
    before = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    after = torch.tensor([[5.0, 0.0], [2.0, 0.0], [-3.0, -4.0]])
    weighed = {(1, 1, 1): 0.0, (2, 0, 0): 1.0, (0, 0, 3): -1.0, (3, 1, 0): 0.75}
    for weights, expected in weighed.items():
        found = likeness(before, after, torch.tensor(weights, dtype=torch.float32))
        assert found.item() == pytest.approx(expected, abs=1e-6)


# --- What is refused ---


def missing(folder: Path) -> tuple[Path, str]:
    return folder / "a.ts", f"there is no file {folder / 'a.ts'}; put the network there"


def folder(folder: Path) -> tuple[Path, str]:
    (folder / "a.ts").mkdir()
    return folder / "a.ts", f"there is no file {folder / 'a.ts'}"


def empty(folder: Path) -> tuple[Path, str]:
    (folder / "a.ts").touch()
    return folder / "a.ts", "is no TorchScript archive: give another file"


def text(folder: Path) -> tuple[Path, str]:
    (folder / "a.ts").write_text("no network")
    return folder / "a.ts", "is no TorchScript archive: give another file"


def state_dict(folder: Path) -> tuple[Path, str]:
    """As Whisper's own files are."""
    torch.save(Small().state_dict(), folder / "a.pt")
    return folder / "a.pt", "is no TorchScript archive: give another file"


def cut_short(folder: Path) -> tuple[Path, str]:
    path = write(folder / "a.ts")
    path.write_bytes(path.read_bytes()[:5000])
    return path, "is no TorchScript archive: give another file"


def damaged(folder: Path) -> tuple[Path, str]:
    path = write(folder / "a.ts")
    content = bytearray(path.read_bytes())
    middle = content.index(b"constants.pkl")
    content[middle - 400 : middle] = bytes(400)
    path.write_bytes(content)
    return path, "cannot be read as a TorchScript archive"


def made(kind: type[Small], reason: str) -> Callable[[Path], tuple[Path, str]]:
    def make(folder: Path) -> tuple[Path, str]:
        return write(folder / "a.ts", kind), reason

    make.__name__ = kind.__name__
    return make


@pytest.mark.parametrize(
    "make",
    [
        missing,
        folder,
        empty,
        text,
        state_dict,
        cut_short,
        damaged,
        made(Whole, "does not work on (1, 32000) samples (it answers with a shape of (12,) and"),
        made(Once, "(it answers with a shape of (1, 12) and not by moments)"),
        made(Flat, "(it answers with a shape of () and not by moments)"),
        made(Map, "(it answers with a shape of (99, 12, 1) and not by moments)"),
        made(NoTensor, "(its output is a dict, not a tensor)"),
        made(Telling, "does not work on (1, 32000) samples (a hundred samples are enough)"),
        made(OneLength, "does not work on (1, 160000) samples (The size of tensor a (500) must"),
        made(Short, "does not work on (1, 160000) samples (The size of tensor a (499) must"),
        made(Filled, "finds 499 moments, be it in 2 s or in 10: export it again"),
        made(Detached, "passes no usable gradient to its input: export it again without no_grad"),
        made(Rounded, "passes no usable gradient"),
        made(Undefined, "passes no usable gradient"),
        made(Scaled, "quantisation, and so that digital silence gives numbers too, or remove"),
    ],
    ids=lambda make: make.__name__,
)
def test_a_recogniser_that_cannot_be_used_is_told_with_what_to_do(
    tmp_path: Path, make: Callable[[Path], tuple[Path, str]]
) -> None:
    path, reason = make(tmp_path)
    with pytest.raises(SurrogateUnavailable) as caught:
        load(path)
    message = caught.value.message
    assert "\n" not in message
    assert message.startswith("speech.recognisers: ")
    assert message.count("speech.recognisers: ") == 1
    assert str(path) in message
    assert reason in message
    assert message.endswith(
        "or remove `speech:`, without which no network of yours is asked about the sound."
    )
    assert find_recogniser_obstacles(Settings(recognisers=(path,))) == (message,)


def test_all_obstacles_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no network")
    files = tmp_path / "gone.ts", write(tmp_path / "good.ts"), tmp_path / "text.pt"
    gone, no_network = find_recogniser_obstacles(Settings(recognisers=files))
    assert gone.startswith(f"speech.recognisers: there is no file {files[0]}")
    assert no_network.startswith(f"speech.recognisers: {files[2]} is no TorchScript archive")


def test_lack_of_memory_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "net.ts")

    def fail(network: Recogniser, sound: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(Recogniser, "features", fail)
    with pytest.raises(MemoryError):
        load(path)
    (told,) = find_recogniser_obstacles(Settings(recognisers=(path,)))
    assert told.startswith("speech.recognisers: there is too little memory to try it (")


def test_a_file_is_read_once_and_anew_when_it_has_changed(tmp_path: Path) -> None:
    file = write(tmp_path / "net.ts")
    (first,) = load(file).networks
    assert load(file).networks == (first,)
    file.unlink()
    write(file, seed=5)
    (other,) = load(file).networks
    assert other is not first
    assert not torch.equal(other.features(sound()), first.features(sound()))


# --- docs/NETWORKS.md ---

_SPEECH = (ROOT / "docs/NETWORKS.md").read_text(encoding="utf-8").partition("\n# Speech\n")[2]
(EXPORT,) = re.findall(r"^```python\n(.*?)^```$", _SPEECH, re.MULTILINE | re.DOTALL)


def test_whisper_is_exported_as_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = pytest.importorskip("whisper", reason="openai-whisper is not installed")
    sizes = dict.fromkeys(("n_audio_state", "n_text_state", "n_vocab"), 16)
    heads = dict.fromkeys(("n_audio_head", "n_text_head"), 2)
    layers = dict.fromkeys(("n_audio_layer", "n_text_layer", "n_text_ctx"), 2)
    sizes |= {"n_mels": 80, "n_audio_ctx": 1500} | heads | layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = whisper.model.Whisper(whisper.model.ModelDimensions(**sizes)).eval()
    checkpoint = {"dims": sizes, "model_state_dict": model.state_dict()}
    torch.save(checkpoint, tmp_path / "small.pt")
    monkeypatch.setattr(
        sys, "argv", ["export.py", str(tmp_path / "small.pt"), str(tmp_path / "small.ts")]
    )
    exec(EXPORT, {})
    (network,) = load(tmp_path / "small.ts").networks
    for seconds in SECONDS:
        assert network.features(sound(seconds)).shape == (seconds * 50, 16)
    thirty = sound(30)  # as much as Whisper hears at once, with nothing to fill up
    expected = model.encoder(whisper.log_mel_spectrogram(thirty)[None])[0]
    torch.testing.assert_close(network.features(thirty), expected, rtol=1e-4, atol=1e-4)

"""Sound files, resampling, log-mel features and their codec."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from ostinato.codecs.audio import AudioCodec, AudioSettings
from ostinato.codecs.audio_files import Resampler, in_parts, ratio, read_sound, resampled, sound_of
from ostinato.codecs.log_mel import LogMel, hz_of_mel, mel_filters, mel_of_hz
from ostinato.errors import BundleError, DataError, SettingsError

RATE = 8000
# librosa's documentation of mel_frequencies(n_mels=40), up to 11025 Hz, on the scale of Slaney's Auditory Toolbox
PUBLISHED = [
    0.0, 85.317, 170.635, 255.952, 341.269, 426.586, 511.904, 597.221, 682.538, 767.855, 853.173, 938.49, 1024.856,
    1119.114, 1222.042, 1334.436, 1457.167, 1591.187, 1737.532, 1897.337, 2071.84, 2262.393, 2470.47, 2697.686,
    2945.799, 3216.731, 3512.582, 3835.643, 4188.417, 4573.636, 4994.285, 5453.621, 5955.205, 6502.92, 7101.009,
    7754.107, 8467.272, 9246.028, 10096.408, 11025.0,
]  # fmt: skip


def tone(hz: float, seconds: float = 0.5, rate: int = RATE, loud: float = 0.5) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def learned(path: Path, **options: object) -> AudioCodec:
    return AudioCodec.learn(lambda: [path], AudioSettings.checked(options))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).normal(size=4000).astype(np.float32) * 0.1
    soundfile.write(path := tmp_path / "音.wav", tone(440) + noise, RATE, subtype="FLOAT")
    return path


def test_the_scales_are_those_that_were_published() -> None:
    peaks = hz_of_mel(np.linspace(0, float(mel_of_hz(11025.0)), 40))
    np.testing.assert_allclose(peaks, PUBLISHED, atol=6e-4)
    np.testing.assert_allclose(mel_of_hz(np.array([60.0, 11025.0])), [0.9, 49.91059448015905], rtol=1e-12)
    assert float(mel_of_hz(1000.0, "htk")) == pytest.approx(999.9855, abs=1e-4)  # "approximately 1000" by design
    hz = np.array([0.0, 20.0, 999.9, 1000.0, 4000.0, 22050.0])
    for scale in ("slaney", "htk"):
        np.testing.assert_allclose(hz_of_mel(mel_of_hz(hz, scale), scale), hz, atol=1e-8)


def test_triangles_reach_from_peak_to_peak() -> None:
    for scale in ("slaney", "htk"):
        weights = mel_filters(RATE, 4096, 20, 100.0, 3800.0, scale)
        peaks = hz_of_mel(np.linspace(*mel_of_hz(np.array([100.0, 3800.0]), scale), 22), scale)
        hz = np.arange(2049) * RATE / 4096
        for band in range(20):
            inside = (hz > peaks[band]) & (hz < peaks[band + 2])
            assert (weights[band][inside] > 0).all() and not weights[band][~inside].any()
            area = weights[band].sum() * RATE / 4096
            wanted = 1.0 if scale == "slaney" else (peaks[band + 2] - peaks[band]) / 2
            assert area == pytest.approx(wanted, rel=0.01)


def test_features_are_what_the_equation_says() -> None:
    """The discrete Fourier transform as a sum, in double precision."""
    sound = np.random.default_rng(1).normal(size=700)
    log_mel = LogMel(RATE, 12, 200, 80, 20.0, 4000.0)
    n, k = np.arange(200), np.arange(129)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 200)
    weights = mel_filters(RATE, 256, 12, 20.0, 4000.0)
    wanted = []
    for first in range(0, 501, 80):
        bins = (sound[first : first + 200] * window) @ np.exp(-2j * np.pi * np.outer(n, k) / 256)
        wanted.append(np.log(weights @ np.abs(bins) ** 2))
    found = log_mel(sound.astype(np.float32)).numpy()
    assert found.shape == (7, 12)
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_a_tone_is_loudest_in_its_band_and_silence_is_finite() -> None:
    log_mel = LogMel(RATE, 40, 200, 80, 0.0, 4000.0)
    peaks = hz_of_mel(np.linspace(0, float(mel_of_hz(4000.0)), 42))[1:-1]
    for hz in (300.0, 1000.0, 2500.0):
        assert abs(int(log_mel(tone(hz)).mean(0).argmax()) - int(np.abs(peaks - hz).argmin())) <= 1
    assert (log_mel(np.zeros(400, np.float32)) == np.float32(np.log(1e-10))).all()
    assert log_mel(np.zeros(199, np.float32)).shape == (0, 40)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 8000), (11025, 8000), (8000, 16000), (48000, 16000)])
def test_resampling_in_parts_gives_what_the_whole_gives(rate: int, wanted: int) -> None:
    sound = np.random.default_rng(2).normal(size=5001).astype(np.float32)
    change = ratio(rate, wanted)
    whole = resampled(sound, change)
    np.testing.assert_allclose(
        whole, resample_poly(sound.astype(float), change.numerator, change.denominator), atol=1e-5
    )
    for size in (1, 37, 5001):
        parts = Resampler(change)
        if size == 1:
            sound, whole = sound[:400], resampled(sound[:400], change)
        found = [*(parts.push(part) for part in in_parts(sound, size)), parts.end()]
        np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-5)
        sound = np.random.default_rng(2).normal(size=5001).astype(np.float32)
        whole = resampled(sound, change)


def test_a_resampled_tone_keeps_its_pitch(tmp_path: Path) -> None:
    soundfile.write(at_44 := tmp_path / "44.flac", np.stack([tone(1000, rate=44100)] * 2, 1), 44100)
    soundfile.write(at_8 := tmp_path / "8.wav", tone(1000), RATE)
    codec = learned(at_8)
    low, high = (codec.log_mel(codec.samples(path)) for path in (at_8, at_44))
    assert low.shape == high.shape
    assert low[20].argmax() == high[20].argmax()
    spectrum = np.abs(np.fft.rfft(codec.samples(at_44)))
    assert spectrum.argmax() * RATE / 4000 == pytest.approx(1000, abs=3)


def test_speed_changes_length_and_pitch(clip: Path, tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.wav", tone(1000), RATE)
    codec = learned(path)
    for speed in (0.9, 1.1):
        found = codec.samples(path, speed)
        assert len(found) == pytest.approx(4000 / speed, abs=1)
        peak = np.abs(np.fft.rfft(found)).argmax() * RATE / len(found)
        assert peak == pytest.approx(1000 * speed, abs=3)


def test_channels_are_mixed_and_formats_agree(tmp_path: Path) -> None:
    both = np.stack([tone(300), tone(1200)], 1)
    for name, options in (("a.wav", {"subtype": "PCM_16"}), ("a.flac", {}), ("f.wav", {"subtype": "FLOAT"})):
        soundfile.write(path := tmp_path / name, both, RATE, **options)
        found, rate = read_sound(path)
        assert rate == RATE and found.dtype == np.float32
        np.testing.assert_allclose(found, both.mean(1), atol=1e-4)
        assert sound_of(path)[:3] == (RATE, 4000, 2)


def test_features_are_normalised_by_training_and_stacked(tmp_path: Path) -> None:
    soundfile.write(clip := tmp_path / "a.wav", np.random.default_rng(4).normal(size=4000) * 0.1, RATE)
    codec = learned(clip, mel_bands=20)
    found = codec.frames(clip)
    assert found.shape == (48, 20)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-3)
    stacked = learned(clip, mel_bands=20, stack_frames=5).frames(clip)
    assert stacked.shape == (10, 100)
    np.testing.assert_allclose(stacked.reshape(50, 20)[:48], found, atol=1e-5)
    assert not stacked.reshape(50, 20)[48:].any()  # the mean of training


def test_a_saved_codec_is_the_same(clip: Path, tmp_path: Path) -> None:
    codec = learned(clip, stack_frames=2, mel_scale="htk")
    codec.save(tmp_path / "codec")
    assert AudioCodec.load(tmp_path / "codec") == codec
    path = tmp_path / "codec" / "audio.json"
    for wrong in ("{}", path.read_text().replace('"bands": 40', '"bands": 39'), path.read_text()[:-9]):
        path.write_text(wrong)
        with pytest.raises(BundleError, match=r"audio\.json"):
            AudioCodec.load(tmp_path / "codec")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=8), st.integers(1, 4), st.sampled_from([8000, 11025]))
def test_a_stream_has_the_steps_of_the_whole(sizes: list[int], stack: int, rate: int) -> None:
    codec = AudioCodec._unlearned(RATE, AudioSettings(stack_frames=stack, mel_bands=10))
    sound = np.random.default_rng(3).normal(size=sum(sizes)).astype(np.float32)
    parts = np.split(sound, np.cumsum(sizes)[:-1])
    found = list(codec.stream(parts, rate))
    wanted = codec.steps(resampled(sound, ratio(rate, RATE)))
    np.testing.assert_allclose(np.concatenate([np.zeros((0, 10 * stack)), *found]), wanted, atol=2e-3)


def wav(samples: bytes, announced: int | None = None, bits: int = 16, kind: int = 1, rate: int = RATE) -> bytes:
    length = len(samples) if announced is None else announced
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, rate, rate * bits // 8, bits // 8, bits)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(samples), b"WAVE")
        + head
        + struct.pack("<4sI", b"data", length)
        + samples
    )


GOOD = (tone(440) * 32767).astype("<i2").tobytes()
BROKEN = {
    "empty.wav": (b"", "empty"),
    "text.wav": (b"once upon a time\n" * 9, "no sound, or damaged"),
    "cut.wav": (wav(GOOD)[:2000], r"cut off: 8,000 bytes of samples are announced, 1,956 are there"),
    "head.wav": (wav(GOOD)[:30], "cut off"),
    "none.wav": (wav(b""), "holds no samples"),
    "slow.wav": (wav(GOOD, rate=12), "12 samples a second; expected 1,000"),
    "short.wav": (wav(GOOD[:300]), r"18\.8 ms long, shorter than a frame \(25 ms\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told(name: str, clip: Path, tmp_path: Path) -> None:
    content, told = BROKEN[name]
    (path := tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told) as error:
        learned(clip).frames(path)
    assert str(path) in str(error.value)


def test_a_cut_flac_and_a_folder_are_told(clip: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=40_000) * 0.1
    soundfile.write(whole := tmp_path / "a.flac", noise, RATE)
    (cut := tmp_path / "cut.flac").write_bytes(whole.read_bytes()[:20_000])
    for path, told in (
        (cut, "cut off|damaged"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "x", "No such"),
    ):
        with pytest.raises(DataError, match=told):
            read_sound(path)


@pytest.mark.parametrize(("value", "told"), [(np.nan, "not a number"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_samples_that_are_no_numbers_are_told(value: float, told: str, tmp_path: Path) -> None:
    sound = tone(440)
    sound[1234] = value
    soundfile.write(path := tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=rf"a\.wav: sample 1,234 \(0\.154 s\) is {told}"):
        read_sound(path)


def test_a_length_that_its_writer_did_not_know_is_read(tmp_path: Path) -> None:
    (path := tmp_path / "piped.wav").write_bytes(wav(GOOD, announced=0x7FFFF000))
    assert len(read_sound(path)[0]) == 4000


def test_hours_are_refused_before_they_are_read(clip: Path) -> None:
    with pytest.raises(DataError, match=r"lasts 0 s, more than longest_seconds = 0"):
        read_sound(clip, longest_seconds=0.1)


def test_a_rate_below_that_of_training_is_told(clip: Path, tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "low.wav", tone(440, rate=4000), 4000)
    with pytest.raises(DataError, match=r"low\.wav: 4,000 samples a second hold nothing above 2,000 Hz"):
        learned(clip).frames(path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"high_hz": 5000}, "expected low_hz < high_hz ≤ 4000"),
        ({"low_hz": 3000, "high_hz": 200}, "expected low_hz < high_hz"),
        ({"mel_bands": 200}, "holds no bin"),
        ({"hop_ms": 30}, "would not be heard"),
        ({"mel_scale": "bark"}, "mel_scale"),
    ],
)
def test_settings_that_cannot_be_are_told(options: dict[str, object], told: str, clip: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        learned(clip, **options)

"""Decoder processes: they give what decoding here gives, and one that is lost costs the picture it had in hand."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Timer

import numpy as np
import psutil
import pytest
from PIL import Image

from clipgres.decoding.decode import decode, thumbnail
from clipgres.decoding.pool import DecodedPicture, Decoders
from clipgres.errors import SetupError, TransientImageError
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.decoding import SQUARE
from tests.ingest import wait_until
from tests.pictures import encoded, gradient, jpeg_of_scans

GOOD = encoded(gradient(640, 480), "JPEG")
BRIEF = Settings(decode_timeout_s=1)


@pytest.fixture(scope="module")
def pair(clean_environment: None) -> Iterator[Decoders]:
    """Two decoders that have a second for a picture."""
    with Decoders(BRIEF, processes=2) as decoders:
        yield decoders


def good(decoders: Decoders) -> DecodedPicture:
    """What becomes of a good picture."""
    return decoders.picture(GOOD, SQUARE, thumbnail=True)


def both_at_work(decoders: Decoders, pool: ThreadPoolExecutor) -> tuple[set[int], list[Future[DecodedPicture]]]:
    """Two pictures, each with a decoder that has stopped for now."""
    while len(decoders.pids()) < 2:
        list(pool.map(lambda _: good(decoders), range(8)))
    pids = decoders.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids, [pool.submit(good, decoders) for _ in range(2)]


def failures(pictures: list[Future[DecodedPicture]]) -> list[str]:
    """What those say that failed, which no good picture did for a reason of its own."""
    errors = [error for picture in pictures if (error := picture.exception(60))]
    assert all(isinstance(error, TransientImageError) and error.reason is Reason.DECODER_FAILED for error in errors)
    return [str(error) for error in errors]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_a_picture_is_what_decoding_here_makes_of_it(pair: Decoders, form: str) -> None:
    body = encoded(gradient(300, 200), form)
    there, here = pair.picture(body, SQUARE, thumbnail=True), decode(body, BRIEF, SQUARE.short)

    assert np.array_equal(there.pixels, SQUARE.prepare(here.image))
    assert there.thumbnail == pair.picture(body, None, thumbnail=True).thumbnail == thumbnail(here.image)
    assert (there.width, there.height, there.perceptual_hash) == (300, 200, here.perceptual_hash)
    assert there.content_hash == hashlib.sha256(body).digest()


def test_many_threads_share_a_few_decoders(pair: Decoders) -> None:
    bodies = [encoded(Image.new("RGB", (64, 64), (level, 0, 0))) for level in range(0, 256, 8)]
    with ThreadPoolExecutor(16) as pool:
        pictures = pool.map(lambda body: pair.picture(body, SQUARE), bodies)
    assert [int(picture.pixels[0, 0, 0]) for picture in pictures] == list(range(0, 256, 8))
    assert len(pair.pids()) <= 2


@pytest.mark.parametrize(
    ("ending", "said"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGSTOP, "longer than 1 s")]
)
def test_a_decoder_that_is_lost_costs_the_picture_in_its_hand(
    pair: Decoders, ending: signal.Signals, said: str
) -> None:
    with ThreadPoolExecutor(2) as pool:
        pids, pictures = both_at_work(pair, pool)
        lost, other = pids
        os.kill(lost, ending)
        os.kill(other, signal.SIGCONT)
        told = failures(pictures)
    assert len(told) == 1
    assert said in told[0]
    assert other in pair.pids()
    assert lost not in pair.pids()
    assert good(pair).width == 640


def test_a_decoder_that_dies_between_two_pictures_costs_none(pair: Decoders) -> None:
    good(pair)
    for pid in pair.pids():
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not pair.pids())
    assert good(pair).width == 640


def test_a_picture_that_takes_for_ever_is_given_up(pair: Decoders) -> None:
    with pytest.raises(TransientImageError, match=r"longer than 1 s") as failed:
        pair.picture(jpeg_of_scans(10_000), SQUARE)
    assert failed.value.reason is Reason.DECODER_FAILED
    assert good(pair).width == 640


def test_an_answer_that_nobody_waited_for_is_given_to_no_other(pair: Decoders) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    slow, before = jpeg_of_scans(200), signal.signal(signal.SIGUSR1, interrupt)
    Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    with pytest.raises(KeyboardInterrupt):
        pair.picture(slow, SQUARE)
    signal.signal(signal.SIGUSR1, before)
    assert good(pair).width == 640


def test_a_picture_that_takes_too_much_memory_is_given_up(clean_environment: None) -> None:
    body = encoded(Image.new("P", (6_500, 6_500)), transparency=0, compress_level=1)
    with Decoders(Settings(decode_max_memory=500_000_000), processes=1) as decoders:
        good(decoders)
        before = decoders.pids()
        with pytest.raises(TransientImageError, match="memory") as failed:
            decoders.picture(body, SQUARE)
        assert failed.value.reason is Reason.DECODER_FAILED
        assert good(decoders).width == 640
        assert decoders.pids() != before


def test_a_decoder_may_do_little_and_knows_no_secret(pair: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_DATABASE_URL", "postgresql://me:secret@host/db")
    with Decoders(BRIEF, processes=1) as decoders:
        good(decoders)
        process = psutil.Process(next(iter(decoders.pids())))
        assert "secret" not in str(process.environ())
        assert process.rlimit(psutil.RLIMIT_AS) == (BRIEF.decode_max_memory, BRIEF.decode_max_memory)
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_NPROC) == (0, 0)
        assert process.num_fds() <= 3
        assert process.num_threads() == 1


def test_a_decoder_loads_nothing_large() -> None:
    code = "import sys, clipgres.decoding.process as d; print(*{'torch', 'pydantic', 'sqlalchemy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"\n"


def test_no_decoder_outlives_a_program_that_is_killed(clean_environment: None) -> None:
    """One has nothing to do then, and the other is busy with a picture that takes for ever."""
    program = """if True:
        import os, sys, threading, time
        from clipgres.decoding.pool import Decoders
        from clipgres.settings import Settings
        from tests.decoding import SQUARE
        from tests.pictures import encoded, gradient, jpeg_of_scans
        decoders, bomb = Decoders(Settings(decode_timeout_s=0.5), processes=2), jpeg_of_scans(10_000)
        threading.Thread(target=decoders.picture, args=(bomb, SQUARE), daemon=True).start()
        while len(decoders.pids()) < 1:
            time.sleep(0.01)
        decoders.picture(encoded(gradient()), SQUARE)
        print(*decoders.pids(), flush=True)
        os.kill(os.getpid(), 9)
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    assert wait_until(lambda: all(map(is_over, pids)))


def is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_after_closing_nothing_is_left_and_nothing_decoded(clean_environment: None) -> None:
    decoders = Decoders(BRIEF, processes=1)
    good(decoders)
    pids = decoders.pids()
    decoders.close()
    assert not any(map(psutil.pid_exists, pids))
    with pytest.raises(TransientImageError, match="closed"):
        good(decoders)


def test_whoever_forgets_to_close_leaves_nothing(clean_environment: None) -> None:
    decoders = Decoders(BRIEF, processes=1)
    good(decoders)
    pids = decoders.pids()
    del decoders
    assert not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize(("program", "said"), [("/nowhere/python", "No such file"), ("/bin/false", "exit code 1")])
def test_decoders_that_cannot_start_say_why(monkeypatch: pytest.MonkeyPatch, program: str, said: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with Decoders(BRIEF, processes=1) as decoders, pytest.raises(SetupError, match=said):
        good(decoders)

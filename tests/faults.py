"""Faults that take minutes: kill -9 at any moment of every command, files mutated at random, and the tests of faults.

    make faults        # half an hour on one core; expects that nothing is lost

What was tried, survived and lost goes to results/faults.json, and from there into the table of tests/README.md.
Stopped in between, the same command on the same commit goes on after the last part that was done.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from tqdm import tqdm

import util
from download_module import tilefile
from inception2_module import networkfile, networks, provenance
from tests.conftest import write_dataset
from wi2_paper import matrix, pictures

ROOT = Path(__file__).parents[1]
README = ROOT / "tests" / "README.md"
N_RESTORE, N_DOWNLOAD = 1000, 200
SECONDS = 900  # no command may take longer
TESTS = {
    "server, download, archive": ("test_fetch.py", "test_unpack.py"),
    "files of networks": ("test_faults_networkfile.py",),
    "results edited by hand": ("test_checking.py",),
    "manifests and tiles changed": ("test_faults_manifest.py",),
    "signals, outputs, disks, names": ("test_faults.py",),
}
RUN = ("--dataset", "sample", "--n-train", "60", "--width", "4", "--n-updates", "12", "--batch-size", "1")
NAME = "sample-sr_x4-inception_unet_srcnn535-fewdata-n60-u12-b1-w4-draw0-seed0"
MODEL = f"runs/{NAME}/model.keras"
PAPER_RUN = ("--only", "mars-sr_x4-inception_unet_srcnn535-fewdata-n10-", "draw0", "--budget", "0.0034")
COMMANDS = {  # how often each is killed, and what it is
    "download.py": (12, ("download.py", "--dataset", "sample", "--n-train", "60", "--n-test", "8", "--tasks", "sr_x4")),
    "download.py --images": (12, ("download.py", "--images", "photos", "--n-train", "300", "--n-test", "20", "--repeat",
                                  "--tasks", "sr_x4", "noise_s64")),
    "inception2.py": (12, ("inception2.py", *RUN)),
    "inception2.py evaluate": (8, ("inception2.py", "evaluate", MODEL)),
    "inception2.py restore": (8, ("inception2.py", "restore", "photos", "--weights", MODEL)),
    "inception2.py export": (8, ("inception2.py", "export", "tflite", "--weights", MODEL)),
    "wi2_paper.reproduce": (8, ("-m", "wi2_paper.reproduce", *PAPER_RUN)),
    "wi2_paper.remeasure": (6, ("-m", "wi2_paper.remeasure", "--only", "mars-sr_x4", "n10-u10-")),
    "wi2_paper.publish": (8, ("-m", "wi2_paper.publish")),
    "wi2_paper.pictures": (6, ("-m", "wi2_paper.pictures")),
    "wi2_paper.tables": (6, ("-m", "wi2_paper.tables")),
}
N_FETCH = 12
FETCH = """
import sys
from pathlib import Path
import util
from download_module.fetch import fetch
url, n_bytes, sha256 = sys.argv[1:]
sys.exit(util.run_cli(lambda: fetch(url, Path("archives/a.zip"), int(n_bytes), sha256)))
"""


def main():
    done_path, commit = ROOT / "outputs" / "faults.json", provenance.git_commit()
    done = util.read_json(done_path) if done_path.exists() else {}
    if done.get("git_commit") != commit:
        done = {"git_commit": commit, "seconds": 0, "parts": {}}
    parts = {"kills": kill_series, "fetch": kill_fetch, "restore": fuzz_restore, "download": fuzz_download}
    parts |= {name: partial(run_tests, name) for name in TESTS}
    for part in tqdm([part for part in parts if part not in done["parts"]], unit="part", desc="faults"):
        began = time.perf_counter()
        with TemporaryDirectory() as place:
            done["parts"][part] = list(parts[part](Path(place)))
        done["seconds"] += round(time.perf_counter() - began)
        util.write_json(done_path, done)
    series = [one for part in parts for one in done["parts"][part]]
    tried, lost = (sum(one[key] for one in series) for key in ("tried", "lost"))
    util.write_json(ROOT / "results" / "faults.json", {
        "series": series, "tried": tried, "lost": lost, "seconds": done["seconds"],
        "device": provenance.cpu(), "versions": provenance.versions(), "git_commit": commit,
    })
    done_path.unlink()
    write_table()
    print(f"{tried} faults, {lost} lost")
    if lost:
        raise util.UserError("something was lost, see results/faults.json")


def one_series(name, tried, troubles, how):
    for trouble in troubles:
        print(f"LOST {name}: {trouble}", file=sys.stderr)
    print(f"{name}: {tried} tried, {len(troubles)} lost", flush=True)
    return {"name": name, "tried": tried, "survived": tried - len(troubles), "lost": len(troubles), "how": how}


# ---- kill -9


def kill_series(place):
    """Kill every command at random moments, let it end, and compare what it leaves to a run that nobody disturbed."""
    straight, broken = place / "straight", place / "broken"
    for folder in (straight, broken):
        write_photos(folder / "photos", 12, 300)
        if any(command[0] == "-m" for _, command in COMMANDS.values()):
            write_paper(folder)
    rng = random.Random(0)
    for name, (n_kills, command) in COMMANDS.items():
        try:
            yield kill(name, n_kills, command, straight, broken, rng)
        except RuntimeError as error:
            yield one_series(f"kill -9 of {name}", n_kills, [str(error)] * n_kills, "make faults")


def kill(name, n_kills, command, straight, broken, rng):
    """One series. The commands of wi2_paper are killed with the command that they have started."""
    began = time.perf_counter()
    run(straight, command, check=True)
    seconds = time.perf_counter() - began
    troubles = []
    for _ in tqdm(range(n_kills), desc=f"kill -9 of {name}", leave=False, mininterval=util.bar_interval()):
        process = start(broken, command)
        try:
            process.communicate(timeout=rng.uniform(0.05, seconds))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if command[0] == "-m" else process.kill()
            process.communicate()
        troubles += find_torn(broken)
    run(broken, command, check=True)
    time.sleep(1)  # workers whose parent was killed end by themselves
    troubles += find_differences(straight, broken)
    return one_series(f"kill -9 of {name}", n_kills, troubles, "make faults")


def write_paper(place):
    """Lay out what the commands of wi2_paper read: the pages, results, networks, a small set called mars."""
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("weights/*"), *ROOT.glob("results/*.json")):
        copy = place / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    write_dataset(place / "datasets", "mars", n_train=120)
    manifest_path = place / "datasets" / "mars" / "manifest.json"
    util.write_json(manifest_path, util.read_json(manifest_path) | {"licence": "none", "citation": "none"})
    shown = [pictures.find("sr_x4", *key) for *key, _ in pictures.COLUMNS]
    # Those of other sets are not trained here: they stay in weights/, and their cards take the scores of their results.
    for experiment in {*(one for one in matrix.PUBLISHED.values() if one.dataset == "mars"), *shown}:
        model_path = place / "runs" / experiment.name / "model.keras"
        model_path.parent.mkdir(parents=True)
        shutil.copyfile(ROOT / "weights" / "mars_sr_x4.keras", model_path)
    names = [f"0500ML{i}_DRCL.png" for i in range(pictures.N_IMAGES)]
    source = place / pictures.SOURCE
    for i, name in enumerate(names):
        image = photo(np.random.default_rng(i), max(pictures.SIZE))[: pictures.SIZE[0], : pictures.SIZE[1]]
        tilefile.write_image(source / name, image)
    (source / "test-calibrated-shuffled.txt").write_text("".join(f"{name} 0\n" for name in names), encoding="utf-8")


class _Slow(BaseHTTPRequestHandler):
    """Sends `server.data` from the byte that is asked for, over about two seconds."""

    def do_GET(self):
        data, asked = self.server.data, self.headers.get("Range", "bytes=0-")
        first = int(re.match(r"bytes=(\d+)-", asked)[1])
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.send_header("ETag", '"1"')
        self.end_headers()
        step = len(data) // 100
        with contextlib.suppress(ConnectionError):
            for at in range(first, len(data), step):
                self.wfile.write(data[at : at + step])
                time.sleep(0.02)

    def log_message(self, *_):
        pass


def kill_fetch(place):
    """Kill a download at random moments, from a server that can go on in the middle."""
    straight, broken = place / "straight", place / "broken"
    straight.mkdir()
    broken.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.daemon_threads, server.data = True, random.Random(0).randbytes(10_000_000)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sha256 = hashlib.sha256(server.data).hexdigest()
        command = ("-c", FETCH, f"http://127.0.0.1:{server.server_port}/a.zip", str(len(server.data)), sha256)
        yield kill("a download", N_FETCH, command, straight, broken, random.Random(0))
        server.shutdown()


def start(place, command):
    script = command if command[0].startswith("-") else (ROOT / command[0], *command[1:])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen([sys.executable, *script], cwd=place, text=True, env=environment, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(place, command, check=False):
    """Return (exit status, what was said)."""
    process = start(place, command)
    try:
        said, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return None, "it hangs"
    if check and process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {said}")
    return process.returncode, said


def visible_files(place):
    """All files but hidden ones and those of TensorBoard, whose names hold the time."""
    paths = (path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place): path for path in paths
            if not re.search(r"(^|/)\.|tensorboard|/lock$|\.part|\.sha256$", path.relative_to(place).as_posix())}


def find_torn(place):
    """A file under its final name is whole, whenever the kill came."""
    troubles = []
    for name, path in visible_files(place).items():
        try:
            content_of(path)
        except Exception as error:  # whatever a torn file brings about
            troubles.append(f"{name} is torn ({error!r})")
    return troubles


def find_differences(straight, broken):
    """The same files with the same contents, and no left-over."""
    ours, others = visible_files(straight), visible_files(broken)
    troubles = [f"{name} is there once only" for name in ours.keys() ^ others.keys()]
    troubles += [f"{name} differs" for name in ours.keys() & others.keys()
                 if content_of(ours[name]) != content_of(others[name])]
    left_over = [path for path in broken.rglob("*") if re.search(r"\.(unfinished|part|old|unpacking)", path.name)]
    return troubles + [f"{path.name} is left over" for path in left_over]


def content_of(path):
    """What has to be the same in two runs: no times, no dates."""
    if path.suffix == ".json":
        value = util.read_json(path)
        if path.name == "trained.json":
            return None
        return value.get("methods", value) if isinstance(value, dict) else value
    if path.suffix == ".jsonl":
        return [json.loads(line)["psnr"] for line in path.read_text().splitlines()]
    if path.name == "a.zip":
        assert path.stat().st_size == 10_000_000
    if path.suffix in (".keras", ".npz"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            names = [name for name in archive.namelist() if name != "metadata.json"]
            return [(name, hashlib.sha256(archive.read(name)).hexdigest()) for name in names]
    if path.suffix == ".tflite":
        return path.stat().st_size
    if path.suffix in util.IMAGE_SUFFIXES:
        with Image.open(path) as image:
            image.load()
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- mutated files


def photo(rng, side, channels=3, dtype=np.uint8):
    small = rng.integers(0, np.iinfo(dtype).max, (side // 4, side // 4, channels), dtype)
    return np.kron(small, np.ones((4, 4, 1), dtype))


def write_photos(folder, n, side):
    for i in range(n):
        tilefile.write_image(folder / f"{i:03}.png", photo(np.random.default_rng(i), side))


def write_seeds(folder, side):
    """Write one good file of every kind; return their paths."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rgb, gray = Image.fromarray(photo(rng, side)), Image.fromarray(photo(rng, side, 1)[..., 0])
    deep = photo(rng, side, 1, np.uint16)[..., 0]
    for name, image, options in (
        ("rgb.png", rgb, {}), ("gray.png", gray, {}), ("palette.png", rgb.quantize(16), {}),
        ("alpha.png", rgb.convert("RGBA"), {}), ("bits.png", gray.convert("1"), {}),
        ("deep.png", Image.fromarray(deep), {}),
        ("a.jpg", rgb, {"quality": 80}), ("progressive.jpg", rgb, {"progressive": True}), ("gray.jpg", gray, {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}), ("rgb.bmp", rgb, {}), ("gray.bmp", gray, {}),
        ("a.webp", rgb, {}), ("lossless.webp", rgb, {"lossless": True}),
        ("rgb.tif", rgb, {}), ("lzw.tif", rgb, {"compression": "tiff_lzw"}), ("deep.tif", Image.fromarray(deep), {}),
        ("deflate.tif", gray, {"compression": "tiff_deflate"}), ("packbits.tif", gray, {"compression": "packbits"}),
        ("float.tif", Image.fromarray(deep.astype(np.float32)), {}), ("jpeg.tif", rgb, {"compression": "jpeg"}),
    ):
        image.save(folder / name, **options)
    np.save(folder / "rgb.npy", np.asarray(rgb))
    np.save(folder / "deep.npy", deep)
    np.save(folder / "float.npy", deep / 65535)
    return sorted(folder.iterdir())


def mutate(content, rng):
    """Change bytes, cut, repeat, blank or insert, once to four times; more often near the head, where sizes stand."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not content:
            break
        i = rng.randrange(min(len(content), rng.choice((64, 512, len(content)))))
        n = rng.choice((1, 2, 4, 64))
        match rng.randrange(6):
            case 0:
                content[i] ^= 1 << rng.randrange(8)
            case 1:
                content[i : i + n] = rng.randbytes(n)
            case 2:
                del content[i : rng.choice((i + n, i + n, len(content)))]
            case 3:
                content[i:i] = content[i : i + n]
            case 4:
                content[i : i + n] = rng.choice((b"\0", b"\xff")) * n
            case 5:
                content[i:i] = rng.randbytes(n)
    return bytes(content)


def write_mutated(place, n, side, kinds=""):
    """Write n mutated files, each kind of those that `kinds` matches as often as the others; return their names."""
    rng = random.Random(1)
    seeds = [path for path in write_seeds(place / "seeds", side) if re.match(kinds, path.name)]
    (place / "mutated").mkdir()
    names = []
    for i in range(n):
        seed = seeds[i % len(seeds)]
        names.append(f"{i:04}-{seed.name}")
        (place / "mutated" / names[-1]).write_bytes(mutate(seed.read_bytes(), rng))
    return names


def fuzz_restore(place):
    """Each mutated file is restored, or has its sentence; the command goes through all of them."""
    names = write_mutated(place, N_RESTORE, 48)
    networkfile.save_model(networks.build_model("srcnn535", 4, 0.0), place / "model.keras")
    status, said = run(place, ("inception2.py", "restore", "mutated", "--weights", "model.keras"))
    troubles = _unexpected(status, said)
    lines = re.split(r"[\n\r]", said)
    for name in names:
        is_restored = any(path.stem == Path(name).stem for path in (place / "outputs").glob(f"{Path(name).stem}*"))
        if not is_restored and not any(name in line for line in lines):
            troubles.append(f"{name} has neither a result nor a sentence")
    yield one_series("mutated files, inception2.py restore", len(names), troubles, "make faults")


def fuzz_download(place):
    """Beside good images the mutated ones are used or counted, and a set is made."""
    names = write_mutated(place, N_DOWNLOAD, 160, "(?!deep|float)")  # one set holds images of one kind
    write_photos(place / "mutated", 5, 300)
    status, said = run(place, ("download.py", "--images", "mutated", "--n-train", "100", "--n-test", "10"))
    troubles = _unexpected(status, said, expected=(0,))
    if not troubles:
        counts = util.read_json(place / "datasets" / "mutated" / "manifest.json")["counts"].values()
        n_images = 5 + sum(Path(name).suffix in util.IMAGE_SUFFIXES for name in names)
        if sum(count["n_images"] for count in counts) != n_images:
            troubles.append("not every image is used or counted")
    yield one_series("mutated files, download.py --images", len(names), troubles, "make faults")


def _unexpected(status, said, expected=(0, 2)):
    if status not in expected or "Traceback" in said or re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", said):
        return [f"it ended with {status}: {said[-2000:]}"]
    return []


# ---- the tests


def run_tests(name, _place):
    """Each test is one fault, or the case beside it that must go on working."""
    paths = [f"tests/{file}" for file in TESTS[name]]
    command = [sys.executable, "-m", "pytest", "--tb=line", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    counted = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    n_lost = sum(counted.get(what, 0) for what in ("failed", "error"))
    troubles = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))][:n_lost]
    yield one_series(name, sum(counted.values()), troubles, f"pytest {' '.join(paths)}")


# ---- the table


def write_table():
    """Write results/faults.json as the table of tests/README.md."""
    found = util.read_json(ROOT / "results" / "faults.json")
    rows = ["| faults | tried | survived | lost | repeat with |", "|---|---:|---:|---:|---|"]
    rows += [f"| {one['name']} | {one['tried']} | {one['survived']} | {one['lost']} | `{one['how']}` |"
             for one in found["series"]]
    rows.append(f"| **all** | {found['tried']} | {found['tried'] - found['lost']} | {found['lost']} | `make faults` |")
    begin, end = "<!-- faults: written by make faults -->", "<!-- end of faults -->"
    before, rest = README.read_text(encoding="utf-8").split(begin)
    text = f"{before}{begin}\n\n" + "\n".join(rows) + f"\n\n{end}{rest.split(end)[1]}"
    with util.replacing(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(util.run_cli(main))

"""Faults that take minutes: kill -9 at any moment of every command, files mutated at random, and the tests of faults.

    make faults        # under an hour on two cores; expects that nothing is lost

What was tried, survived and lost goes to results/faults.json, and from there into the table of tests/README.md.
"""

import hashlib
import json
import random
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import util
from download_module import tilefile
from inception2_module import networkfile, networks, provenance

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
COMMANDS = {  # how often each is killed, and what it is
    "download.py": (25, ("download.py", "--dataset", "sample", "--n-train", "60", "--n-test", "8", "--tasks", "sr_x4")),
    "download.py --images": (25, ("download.py", "--images", "photos", "--n-train", "300", "--n-test", "20", "--repeat",
                                  "--tasks", "sr_x4", "noise_s64")),
    "inception2.py": (15, ("inception2.py", *RUN)),
    "inception2.py evaluate": (12, ("inception2.py", "evaluate", MODEL)),
    "inception2.py restore": (12, ("inception2.py", "restore", "photos", "--weights", MODEL)),
    "inception2.py export": (12, ("inception2.py", "export", "tflite", "--weights", MODEL)),
}


def main():
    began = time.perf_counter()
    with TemporaryDirectory() as place:
        series = [*kill_series(Path(place) / "kill"), fuzz_restore(Path(place) / "restore"),
                  fuzz_download(Path(place) / "download"), *map(run_tests, TESTS)]
    tried, lost = (sum(one[key] for one in series) for key in ("tried", "lost"))
    util.write_json(ROOT / "results" / "faults.json", {
        "series": series, "tried": tried, "lost": lost, "seconds": round(time.perf_counter() - began),
        "device": provenance.cpu(), "versions": provenance.versions(), "git_commit": provenance.git_commit(),
    })
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
    rng = random.Random(0)
    for name, (n_kills, command) in COMMANDS.items():
        began = time.perf_counter()
        run(straight, command, check=True)
        seconds = time.perf_counter() - began
        troubles = []
        for _ in range(n_kills):
            process = start(broken, command)
            try:
                process.wait(rng.uniform(0.05, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            troubles += find_torn(broken)
        run(broken, command, check=True)
        time.sleep(1)  # workers whose parent was killed end by themselves
        troubles += find_differences(straight, broken)
        yield one_series(f"kill -9 of {name}", n_kills, troubles, "make faults")


def start(place, command):
    return subprocess.Popen([sys.executable, ROOT / command[0], *command[1:]], cwd=place, text=True,
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
            if not re.search(r"(^|/)\.|tensorboard|/lock$", path.relative_to(place).as_posix())}


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
    left_over = [path for path in broken.rglob("*") if re.search(r"\.(unfinished|partial|old|unpacking)", path.name)]
    return troubles + [f"{path.name} is left over" for path in left_over]


def content_of(path):
    """What has to be the same in two runs: no times, no dates."""
    if path.suffix == ".json":
        value = util.read_json(path)
        return None if path.name == "trained.json" else value.get("methods", value)
    if path.suffix == ".jsonl":
        return [json.loads(line)["psnr"] for line in path.read_text().splitlines()]
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
    return one_series("mutated files, inception2.py restore", len(names), troubles, "make faults")


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
    return one_series("mutated files, download.py --images", len(names), troubles, "make faults")


def _unexpected(status, said, expected=(0, 2)):
    if status not in expected or "Traceback" in said or re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", said):
        return [f"it ended with {status}: {said[-2000:]}"]
    return []


# ---- the tests


def run_tests(name):
    """Each test is one fault, or the case beside it that must go on working."""
    paths = [f"tests/{file}" for file in TESTS[name]]
    command = [sys.executable, "-m", "pytest", "--tb=line", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    counted = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    n_lost = sum(counted.get(what, 0) for what in ("failed", "error"))
    troubles = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))][:n_lost]
    return one_series(name, sum(counted.values()), troubles, f"pytest {' '.join(paths)}")


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

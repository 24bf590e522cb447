"""How the page looks and what its buttons call: the functions of page.py, in Gradio, which comes as an argument."""

import tempfile
import time
from functools import partial

import util
from restore_module import page
from restore_module.page_texts import LANGUAGES

KEPT, CLEARED = 3600, 60  # seconds: how old uploads and results become, how often those are looked for
# Image files are read by one thread at a time, see page.py.
ONE = {"concurrency_id": "images", "concurrency_limit": 1, "api_visibility": "private"}
# A visitor whose browser speaks Japanese is led to that page, once.
HEAD = """<script>
if (!sessionStorage.led && /^ja/.test(navigator.language) && !/\\/ja\\/?$/.test(location.pathname))
  location.replace(location.pathname.replace(/\\/?$/, "/ja"));
sessionStorage.led = 1;
if (/\\/ja\\/?$/.test(location.pathname)) document.documentElement.lang = "ja";
</script>"""
# On a phone what comes lies below the button.
SCROLL = """(...values) => {
  if (innerWidth < 768) document.getElementById("result").scrollIntoView({behavior: "instant"});
  return values;
}"""
CSS = """
.gradio-container { max-width: 1200px !important; margin: auto; }
#note { padding: 0.25rem 1rem; border-left: 3px solid var(--color-accent); }
@media (max-width: 767px) { #result { min-height: 100vh; } }
#accepted { font-size: 0.85em; opacity: 0.75; }
"""


def build(gradio):
    """Lay the page out, once in each language: gradio.Blocks."""
    first, *others = LANGUAGES
    title = " · ".join(texts["title"] for texts in LANGUAGES.values())
    with gradio.Blocks(title=title, delete_cache=(CLEARED, KEPT)) as blocks:
        lay_out(gradio, blocks, LANGUAGES[first])
    for language in others:
        with blocks.route(LANGUAGES[language]["language"], language):
            lay_out(gradio, blocks, LANGUAGES[language])
    return blocks


def lay_out(gradio, blocks, texts):
    gradio.Navbar(main_page_name=LANGUAGES["en"]["language"])
    gradio.Markdown(f"# {texts['title']}\n{texts['lead']}")
    with gradio.Row():
        with gradio.Column(scale=1, min_width=320):
            upload = gradio.File(label=texts["drop"], file_types=sorted(util.IMAGE_SUFFIXES), height=150,
                                 elem_id="upload")
            gradio.Markdown(texts["accepted"].format(**page.limits()), elem_id="accepted")
            network = gradio.Dropdown([], label=texts["network"], elem_id="network")
            mode = gradio.Radio([], label=texts["mode"], visible=False, elem_id="mode")
            strength = gradio.Slider(10, 100, 100, step=5, label=texts["strength"], elem_id="strength")
            trust = gradio.Checkbox(label=texts["trust"], container=False, elem_id="trust")
            start = gradio.Button(texts["restore"], variant="primary", size="lg", elem_id="restore")
        with gradio.Column(scale=2, min_width=320, elem_id="result"):
            note = gradio.Markdown(texts["welcome"], elem_id="note")
            picture = gradio.Image(label=texts["input"], format="png", interactive=False, visible=False,
                                   buttons=["fullscreen"], elem_id="input")
            slider = gradio.ImageSlider(label=texts["compare"], show_label=False, format="png", interactive=False,
                                        visible=False, buttons=["fullscreen"], max_height=700, elem_id="slider")
            download = gradio.DownloadButton(texts["download"], variant="primary", visible=False, elem_id="download")
            map_of_trust = gradio.Image(label=texts["trust_map"], format="png", interactive=False, visible=False,
                                        buttons=["fullscreen"], elem_id="trust_map")
    shown = [note, picture, slider, download, map_of_trust]
    hidden = [gradio.update(visible=False) for _ in shown[1:]]

    def look(path):
        """Show an upload and propose a network for it."""
        if path is None:
            return [texts["welcome"], *hidden, gradio.skip(), gradio.skip()]
        try:
            with page.copied(path, texts) as copy:
                found = page.read(copy, texts)
        except (util.UserError, OSError, MemoryError) as error:
            return [f"⚠️ {util.describe_error(error)}", *hidden, gradio.skip(), gradio.skip()]
        (view,), step = page.views(found)
        proposed = page.propose(found)
        said = [page.describe_noise(found, texts), texts["proposed"].format(name=proposed[0]) if proposed
                else texts["none_suits"], *about_view(found, step), *found.notes]
        chosen = [gradio.skip()] * 2
        if proposed:
            chosen = [gradio.update(value=proposed[0]), modes(gradio, texts, *proposed)]
        return ["\n\n".join(said), gradio.update(value=view, visible=True), *hidden[1:], *chosen]

    def judge(path, name, enlarge):
        """Say what speaks against a network before anybody waits for it."""
        if path is None:
            return gradio.skip()
        try:
            with page.copied(path, texts) as copy:
                found = page.read(copy, texts)
        except (util.UserError, OSError, MemoryError) as error:
            return f"⚠️ {util.describe_error(error)}"
        known = page.networks().get(name, {})
        warning = page.warn(found, known, bool(enlarge and page.scale_of(known)), texts)
        return "\n\n".join([page.describe_noise(found, texts), *([f"⚠️ {warning}"] if warning else [])])

    def restore(path, name, enlarge, percent, with_trust, progress=gradio.Progress(track_tqdm=True)):  # noqa: B008
        """Restore an upload and show it; the files are copied by Gradio before the folder goes."""
        if path is None:
            yield [f"⚠️ {texts['none_yet']}", *hidden]
            return
        if name is None:
            yield [f"⚠️ {texts['choose']}", gradio.update(visible=True), *hidden[1:]]
            return
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            try:
                restored, trust_path, before, after = page.restore(path, name, enlarge, with_trust, percent / 100,
                                                                   texts, directory)
            except (util.UserError, OSError, MemoryError) as error:
                yield [f"⚠️ {util.describe_error(error)}", gradio.update(visible=True), *hidden[1:]]
                return
            known = page.networks()[name]
            warning = page.warn(before, known, bool(enlarge and page.scale_of(known)), texts)
            sides, step = page.views(before, after)
            height, width = after.pixels.shape[:2]
            said = [texts["done"].format(width=width, height=height, seconds=time.monotonic() - began)
                    + f" {texts['compare']}", page.describe_noise(before, texts),
                    *([f"⚠️ {warning}"] if warning else []), *about_view(after, step), *after.notes]
            yield ["\n\n".join(said), gradio.update(visible=False), gradio.update(value=tuple(sides), visible=True),
                   gradio.update(value=restored, visible=True),
                   gradio.update(value=trust_path, visible=trust_path is not None)]

    def about_view(found, step):
        return [texts["stretched"]] * page.is_stretched(found) + [texts["reduced"].format(step=step)] * (step > 1)

    # Now and not before, for the sake of trainings that have ended meanwhile.
    blocks.load(lambda: gradio.update(choices=choices(texts)), None, network, api_visibility="private")
    upload.change(look, upload, [*shown, network, mode], show_progress_on=[note], **ONE)
    network.input(partial(modes, gradio, texts), network, mode, api_visibility="private")
    # At once, with the mode that it will have: after `modes` it could come when a result is there, and hide its note.
    network.input(partial(judge, enlarge=True), [upload, network], note, **ONE)
    mode.input(judge, [upload, network, mode], note, **ONE)
    start.click(restore, [upload, network, mode, strength, trust], shown, js=SCROLL,
                show_progress_on=[picture, slider], **ONE)


def choices(texts):
    return [(page.describe(name, known, texts), name) for name, known in page.networks().items()]


def modes(gradio, texts, name, enlarge=True):
    """The two meanings of super-resolution, where a network has them."""
    scale = page.scale_of(page.networks().get(name, {}))
    options = [(texts["small"].format(scale=scale), True), (texts["large"], False)] if scale else []
    return gradio.update(choices=options, value=enlarge if scale else None, visible=bool(scale))

"""The page in a real browser: what it shows is what the audit says, and nothing in it runs or leaves."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.api.doors import Security
from orlop.api.engine.app import Page
from orlop.api.server import Options
from orlop.api.web.headers import HEADERS, is_page
from orlop.api.web.site import ENDPOINTS, PARTS
from orlop.page.html import asset
from tests.browser import browser
from tests.unit.images_made import image, layer
from tests.unit.served import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser import Browser

pytestmark = [pytest.mark.interop, pytest.mark.needs("chromium", "chromedriver"), pytest.mark.sampled(3)]

MARKUP = "</script><img src=x onerror=alert(1)>"
NAMES = ["<!--<script>", "a\u202egnp.exe", "\x1b[31mred", "caf\udce9", " two  spaces ", "$&", "x" * 255]
HIDDEN = {
    "e\U000e0041": "e\\u{e0041}",
    "f\u3164": "f\\u{3164}",
    "n\u00a0": "n\\xa0",
    "v\ufe0f": "v\\u{fe0f}",
    "w\u2800": "w\\u{2800}",
}
"""Names with characters that cannot be seen, or look like a space, and how they are shown."""
LAYERS = (
    layer("usr/", "usr/lib/", ("usr/lib/long", b"l" * 50_000), ("usr/lib/short", b"s" * 900), ("etc/conf", b"c" * 70)),
    layer(
        ("usr/lib/long", b"m" * 20_000),
        *((f"odd/{name}", b"o" * 10) for name in (*NAMES, *HIDDEN)),
        f"odd/link->{MARKUP}",
    ),
    layer(
        ("usr/lib/long", b"m" * 20_000),
        "usr/lib/.wh.short",
        *((f"many/f{number:04}", b"x" * number) for number in range(1, 400)),
    ),
)
CONFIG: dict[str, object] = {
    "Volumes": {"/data": {}, MARKUP: {}},
    "User": MARKUP,
    "Labels": {"l": MARKUP},
    "Env": ["TOKEN=0123456789"],
}


def run(*words: str | Path) -> bytes:
    return subprocess.run([sys.executable, "-m", "orlop", *map(str, words)], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as session:
        yield session


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "new.tar").write_bytes(image(*LAYERS, config=CONFIG))
    (folder / "old.tar").write_bytes(image(*LAYERS[:2], config=CONFIG))
    run("audit", "--archive", folder / "new.tar", "--html", folder / "page.html", "--compare", folder / "old.tar")
    return folder


@pytest.fixture(scope="module")
def report(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("audit", "--archive", made / "new.tar", "--format", "json"))
    return found


@pytest.fixture
def page(chromium: Browser, made: Path) -> Iterator[Browser]:
    """Open the page anew; in the end nothing was requested, and the console is empty."""
    chromium.resize(1440, 900)
    chromium.requests()
    chromium.console()
    chromium.open(f"{(made / 'page.html').as_uri()}#")
    chromium.run("location.reload()")
    chromium.until("return document.documentElement.dataset.ready === 'yes'")
    yield chromium
    assert {url.partition("#")[0] for _, url in chromium.requests()} == {(made / "page.html").as_uri()}
    assert chromium.console() == []


def size_of(page: Browser, path: str) -> int:
    """Select a path by its rows, and return the bytes that its row shows."""
    names = [part for part in path.split("/") if part]
    page.run("document.getElementById('tree').focus()")
    page.press("Home")
    for name in names:
        if page.run("return document.querySelector('.row[aria-selected=true]').ariaExpanded") == "false":
            page.press("ArrowRight")
        for _ in range(30):
            page.press("ArrowDown")
            if page.run("return document.querySelector('.row[aria-selected=true] .name').textContent") == name:
                break
        else:
            raise AssertionError(f"{name} is not in the tree")
    return int(page.run("return document.querySelector('.row[aria-selected=true]').dataset.size"))


def test_what_is_shown_is_what_the_audit_says(page: Browser, report: dict[str, Any]) -> None:
    layers = page.run("return [...document.querySelectorAll('.layer')].map((one) => ({...one.dataset}))")
    assert layers == [
        {"layer": str(one["Number"]), "size": str(one["Size"]), "hidden": str(one["Hidden"])}
        for one in report["Layers"]
    ]
    facts = dict(
        page.run("return [...document.querySelectorAll('[data-fact]')].map((o) => [o.dataset.fact, o.textContent])")
    )
    assert report["Unchanged"] == 20_000
    assert report["Twice"] > 0
    assert facts["Unchanged"] == "20.0 kB sent again"
    assert facts["There twice"] == f"{report['Twice']} B"
    assert facts["Volumes"] == f"/data, {MARKUP}"
    assert facts["Efficiency"] == f"{100 * float(report['Efficiency']):.1f} %"
    for path in ("/usr", "/usr/lib", "/many"):
        assert size_of(page, path) == report["Folders"][path]
    page.press("f")
    rules = page.run("return [...document.querySelectorAll('#findings li')].map((one) => one.dataset.rule)")
    assert rules == [one["Rule"] for one in report["Findings"]]
    page.click("#tab-hidden")
    hidden = page.run("return [...document.querySelectorAll('#hidden tr')].map((one) => Number(one.dataset.size))")
    assert sum(hidden) == report["Hidden"]
    assert len(page.texts("#steps li")) == 0
    page.click("#tab-steps")
    assert page.texts("#steps code") == ["RUN step 1", "RUN step 2", "RUN step 3"]


def test_search_finds_and_keys_lead_there(page: Browser) -> None:
    page.press("/")
    page.press(*"lib/sho", "Enter")
    assert page.texts("#matches") == ["1 match"]
    assert page.texts(".row[aria-selected=true] .name") == ["short"]
    assert page.run("return [...document.querySelectorAll('#events li')].map((one) => one.dataset.action)") == [
        "added",
        "removed",
    ]
    assert page.run("return document.activeElement.id") == "tree"
    page.press("Escape", "Home", "ArrowDown", "Enter")
    assert page.texts("#crumbs button") == ["/", "many/"]
    page.press("Backspace")
    assert page.texts("#crumbs button") == ["/"]
    page.press("?")
    assert page.run("return document.getElementById('keys').open")
    page.press("Escape", "s")
    assert page.texts("#shapes [aria-pressed=true]") == ["Sunburst"]
    page.press("v")
    assert page.texts("#modes [aria-pressed=true]") == ["Hidden"]
    page.press("2")
    assert page.run("return document.querySelector('.layer[aria-pressed=true]').dataset.layer") == "2"


NOTE_AREAS = """
const of = CanvasRenderingContext2D.prototype;
if (!window.areas) {
  const { fillRect, fillText } = of;
  let area = 0;
  of.fillRect = function (x, y, w, h) { area = w * h; return fillRect.call(this, x, y, w, h); };
  of.fillText = function (text, ...at) { window.areas[text] = area; return fillText.call(this, text, ...at); };
}
window.areas = {};
"""


def areas_of(page: Browser) -> dict[str, float]:
    """Draw the map anew, and return how large the rectangle of each name is that is written in it."""
    page.run(NOTE_AREAS)
    page.run("document.getElementById('map').style.height = '381px'")
    map_of(page)
    page.run("window.areas = {}; document.getElementById('map').style.height = ''")
    map_of(page)
    areas: dict[str, float] = page.run("return areas")
    return areas


@pytest.mark.sampled(2)
def test_what_is_left_out_of_the_map_makes_room_and_comes_back(page: Browser) -> None:
    whole = areas_of(page)
    assert page.run("return document.getElementById('leave').disabled")
    page.run("document.getElementById('tree').focus()")
    page.press("Home", "ArrowDown", "x")  # /many, the largest
    assert page.texts(".row[aria-selected=true] .name") == ["many"]
    assert page.texts("#leave") == ["Take in"]
    assert page.texts("#all") == ["Take in all (1)"]
    assert page.texts(".row.out .name") == ["many"]
    assert page.texts(".row.out .mark") == ["\u00d7"]
    assert "left out of the map" in page.run("return document.querySelector('.row.out').ariaLabel")
    assert page.texts("#status")[0].endswith("left out")
    less = areas_of(page)
    assert "many" not in less
    assert less["long"] > 2 * whole["long"]
    # What lies in another one counts once, whichever comes first.
    page.press("ArrowRight", "ArrowDown", "x")
    assert page.texts("#all") == ["Take in all (2)"]
    assert areas_of(page)["long"] == less["long"]
    page.press("ArrowLeft", "x")
    assert page.texts("#all") == ["Take in all (1)"]
    assert areas_of(page)["many"] < whole["many"]
    page.press("X")
    assert not page.texts(".row.out")
    assert areas_of(page) == whole
    # What is shown alone cannot be left out: what is around it is shown then.
    page.press("Enter")
    assert page.texts("#crumbs button") == ["/", "many/"]
    page.click("#leave")
    assert page.texts("#crumbs button") == ["/"]
    page.click("#all")
    assert not page.run("return document.getElementById('all').getClientRects().length")
    page.press("x", "v", "v")
    assert page.texts("#modes [aria-pressed=true]") == ["Compared"]
    assert not page.texts(".row.out")


def test_a_search_with_slashes_is_for_a_part_of_a_path(page: Browser) -> None:
    found = {}
    for query in ("/usr", "sr/li", "usr/lib/l", "/l", "lib/ong", "lib/", "/lib/", "/", "r//l", "many/f039"):
        page.run("document.getElementById('search').value = ''; document.getElementById('search').focus()")
        page.press(*query, "Enter")
        found[query] = page.texts("#matches")[0].split()[0]
    assert found == {
        "/usr": "1",
        "sr/li": "1",
        "usr/lib/l": "1",
        "/l": "3",  # lib, long and link
        "lib/ong": "0",
        "lib/": "1",
        "/lib/": "1",
        "/": "5",
        "r//l": "0",
        "many/f039": "10",
    }


def test_what_is_below_a_directory_that_a_search_finds_is_found_too(page: Browser) -> None:
    page.press("/", *"/usr", "Enter", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowDown")
    assert page.texts(".row .name")[-3:] == ["lib", "long", "short"]
    assert page.texts(".row[aria-selected=true] .name") == ["long"]
    # In the map it is not dimmed: it looks as it does without the search.
    page.run("document.getElementById('tree').focus()")
    page.press("Home", "ArrowDown", "Enter")
    page.until("return document.getElementById('crumbs').textContent === '/usr/'")
    searched = map_of(page)
    page.press("Escape")
    assert page.texts("#matches") == [""]
    assert page.texts("#crumbs button") == ["/", "usr/"]
    assert map_of(page) == searched


def map_of(page: Browser) -> object:
    """Return the picture of the map, two frames from now."""
    then = "requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = true; }))"
    page.run(f"window.drawn = false; {then}")
    page.until("return window.drawn")
    return page.run("return document.getElementById('map').toDataURL()")


def test_names_and_texts_are_inert(page: Browser) -> None:
    page.press("/")
    page.press(*"odd/", "Enter", "ArrowRight")
    shown = set(page.texts(".row .name"))
    assert {"<!--<script>", "a\\u{202e}gnp.exe", "\\x1b[31mred", "caf\\xe9", " two  spaces ", "$&", "x" * 255} <= shown
    assert {*HIDDEN.values()} <= shown
    # Spaces are as wide as they are many.
    spaces = "return [...document.querySelectorAll('.row .name')].map((one) => one.innerText)"
    assert " two  spaces " in page.run(spaces)
    page.press("/")
    page.run("document.getElementById('search').value = ''")
    page.press(*"link", "Enter")
    assert MARKUP in page.texts("#panel td")
    assert page.texts("[data-fact=User]") == [MARKUP]
    assert page.run("return document.images.length") == 0


def test_findings_tell_whether_a_baseline_has_them(chromium: Browser, tmp_path: Path) -> None:
    members = {name: tarfile.TarInfo(name) for name in ("known", "gone", "new")}
    for member in members.values():
        member.mode = 0o666
    (tmp_path / "old.tar").write_bytes(image(layer(members["known"], members["gone"]), config=CONFIG))
    (tmp_path / "new.tar").write_bytes(image(layer(members["known"], members["new"]), config=CONFIG))
    (tmp_path / "baseline").write_bytes(run("audit", "--archive", tmp_path / "old.tar", "--sarif"))
    beside = ("--baseline", tmp_path / "baseline")
    run("audit", "--archive", tmp_path / "new.tar", *beside, "--html", tmp_path / "page.html")
    chromium.resize(1440, 900)
    chromium.console()
    chromium.open((tmp_path / "page.html").as_uri())
    chromium.until("return document.documentElement.dataset.ready === 'yes'")
    chromium.press("f")
    shown = chromium.texts("#findings li")
    texts = {one.split("/")[-1].split()[0]: one.split("world")[0] for one in shown if "world-writable" in one}
    assert texts == {"new": "medium: ", "known": "known, medium: ", "gone": "gone, medium: "}
    facts = chromium.run("return document.querySelector('[data-fact=Findings]').textContent")
    assert "1 medium" in str(facts)
    # A path that the image does not have leads nowhere, and does no harm.
    chromium.click("#findings li[data-state=gone] button")
    assert chromium.console() == []


def test_two_images_are_compared(page: Browser) -> None:
    page.press("v", "v")
    assert page.texts("#modes [aria-pressed=true]") == ["Compared"]
    page.click("#tab-changes")
    assert page.texts("#changes td:nth-child(2)")[0] == "/usr/lib/short"
    # The first column is as wide as the words in it.
    assert page.run("return getComputedStyle(document.querySelector('#changes td')).whiteSpace") == "nowrap"
    assert "399 added" in page.texts("#panel p")[1] or "400 added" in page.texts("#panel p")[1]
    assert "1 removed" in page.texts("#panel p")[1]


def note_what_is_drawn(page: Browser) -> None:
    page.run(
        "const of = CanvasRenderingContext2D.prototype; window.drawn = [];"
        "for (const name of ['fill', 'fillText', 'fillRect']) { const real = of[name];"
        " of[name] = function (...all) { drawn.push([name, String(all[0]), all]); return real.apply(this, all); } }"
    )


def test_a_rectangle_is_as_large_as_what_it_stands_for(chromium: Browser, tmp_path: Path) -> None:
    sizes = {f"f{number}": number * 1000 for number in range(1, 11)}
    (tmp_path / "areas.tar").write_bytes(image(layer(*((name, bytes(size)) for name, size in sizes.items()))))
    run("audit", "--archive", tmp_path / "areas.tar", "--html", tmp_path / "areas.html")
    chromium.resize(1440, 900)
    chromium.open((tmp_path / "areas.html").as_uri())
    note_what_is_drawn(chromium)
    chromium.press("t")
    drawn = chromium.until("return drawn.filter(([name]) => name === 'fillText').length > 10 && drawn")
    chromium.run("localStorage.clear()")
    areas: dict[str, float] = {}
    rectangle = [0.0] * 4
    for name, text, words in drawn:
        if name == "fillRect":
            rectangle = words
        elif text in sizes:
            areas[text] = rectangle[2] * rectangle[3]
    assert {*areas} == {*sizes}
    for name, size in sizes.items():
        assert areas[name] / sum(areas.values()) == pytest.approx(size / sum(sizes.values()), rel=0.02)


def test_names_stay_in_their_places_and_no_character_is_cut_apart(chromium: Browser, tmp_path: Path) -> None:
    names = ("W" * 200, "\U0001f600" * 60, "a" + "\U0001f600" * 60, "\u6f22" * 80, "i" * 250, "short")
    (tmp_path / "names.tar").write_bytes(image(layer(*((name, bytes(5000)) for name in names))))
    run("audit", "--archive", tmp_path / "names.tar", "--html", tmp_path / "names.html")
    chromium.resize(700, 900)
    chromium.open((tmp_path / "names.html").as_uri())
    note_what_is_drawn(chromium)
    for key in ("t", "s"):
        chromium.run("window.drawn.length = 0")
        chromium.press(key)
        written = chromium.until("const all = drawn.filter(([n]) => n === 'fillText'); return all.length > 6 && all")
        cut = [text for _, text, _ in written if "…" in text]
        assert len(cut) >= 5
        assert not chromium.run("return drawn.some(([n, text]) => n === 'fillText' && /\\p{Cs}/u.test(text))")
        # A text that is too wide is written narrower.
        assert all(words[3] > 0 for _, text, words in written if "…" in text)
    chromium.run("localStorage.clear()")


def test_how_images_differ_is_told_by_more_than_colours(page: Browser) -> None:
    note_what_is_drawn(page)
    page.press("v", "v")
    page.until("return drawn.some(([name, text]) => name === 'fillText' && text === '+ many')")
    page.press("s")
    page.until("return drawn.some(([name, text]) => name === 'fillText' && text === '+ many')")


def test_a_sunburst_covers_no_name_with_an_arc(page: Browser) -> None:
    note_what_is_drawn(page)
    page.press("s")
    drawn = page.until("return drawn.some(([name]) => name === 'fillText') && drawn")
    last = max(place for place, (name, *_) in enumerate(drawn) if name == "fillRect")
    names = [name for name, *_ in drawn[last:]]
    assert "fill" not in names[names.index("fillText") :]
    written = [text for name, text, _ in drawn[last:] if name == "fillText"]
    assert {"usr", "lib", "long", "many"} <= {*written}
    # A name that is cut is told by what is left of it.
    assert all(len(text) >= 4 for text in written if "…" in text)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_theme_is_that_of_the_system_until_one_is_chosen(page: Browser, *, dark: bool) -> None:
    page.resize(1440, 900, dark=dark)
    page.until("return document.documentElement.dataset.theme === arguments[0]", "dark" if dark else "light")
    page.press("t")
    page.until("return document.documentElement.dataset.theme === arguments[0]", "light" if dark else "dark")
    page.run("localStorage.clear()")


@pytest.mark.parametrize("width", [320, 375, 640])  # the last is a screen of 1280 points at 200 %
def test_a_phone_shows_all_without_scrolling_sideways(page: Browser, width: int) -> None:
    page.resize(width, 740)
    assert page.run("return document.documentElement.scrollWidth") == width
    assert page.run("return document.getElementById('map').clientWidth") > width - 40


def test_a_page_on_paper_has_its_facts_and_no_controls(page: Browser) -> None:
    page.tell("Emulation.setEmulatedMedia", media="print")
    try:
        shown = "return document.getElementById(arguments[0]).getClientRects().length > 0"
        assert [page.run(shown, name) for name in ("tools", "modes", "shapes", "tabs")] == [False] * 4
        assert all(page.run(shown, name) for name in ("title", "facts", "layers", "map", "tree"))
    finally:
        page.tell("Emulation.setEmulatedMedia", media="")


def test_nothing_moves_by_itself_for_those_who_dislike_it(page: Browser) -> None:
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.tell("Emulation.setEmulatedMedia", features=features)
    assert page.run("return matchMedia('(prefers-reduced-motion: reduce)').matches")
    page.press("/", *"long", "Enter", "Enter", "v", "s")
    assert page.run("return document.getAnimations().length") == 0
    assert page.run(
        "return [...document.querySelectorAll('*')].every((one) => getComputedStyle(one).scrollBehavior === 'auto')"
    )


@pytest.mark.sampled(3)
def test_tab_goes_through_all_parts_and_out_again(page: Browser) -> None:
    page.run("document.activeElement.blur()")
    order: list[str] = []
    for _ in range(60):
        page.press("Tab")
        where = page.run(
            "const at = document.activeElement; return at === document.body ? '' : at.id || at.closest('[id]').id"
        )
        if order and (not where or where == order[0]):
            break
        order.append(where)
        outline = "const style = getComputedStyle(document.activeElement); return style.outlineStyle"
        assert page.run(outline) != "none", where
    parts = ["search", "layers", "map", "tree"]
    places = [order.index(part) for part in parts]
    assert places == sorted(places)


def test_a_script_that_was_changed_does_not_run(chromium: Browser, made: Path) -> None:
    script = asset("page.js")
    changed = (made / "page.html").read_bytes().replace(script, script + b";window.foreign = 1\n")
    (made / "changed.html").write_bytes(changed)
    with pytest.raises(AssertionError, match="never came true"):
        chromium.open((made / "changed.html").as_uri(), seconds=1)
    assert chromium.run("return window.foreign") is None
    assert any("Content Security Policy" in line for line in chromium.console())


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_people_need(theme: int) -> None:
    blocks = re.findall(r":root[^{]*\{(.*?)\}", asset("page.css").decode(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+):(#\w{6});", blocks[theme]))
    tiles = [colours[f"layer-{number}"] for number in range(8)]
    for surface in ("paper", "pane", "folder"):
        for text in ("text", "muted", *(() if surface == "folder" else ("accent", "high", "medium"))):
            assert contrast(colours[text], colours[surface]) >= 4.5, (text, surface)
    for tile in tiles:
        assert contrast(colours["tile-text"], tile) >= 4.5
        assert contrast(colours["edge"], tile) >= 3
    assert contrast(colours["dimmed-text"], colours["dimmed"]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["control"], colours["paper"]) >= 3


CONTRASTS = """
const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const over = ([r, g, b, a = 1], below) => [r, g, b].map((one, i) => one * a + below[i] * (1 - a));
const light = (rgb) => rgb.map((one) => one / 255)
  .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
  .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
const failed = [];
let seen = 0;
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const at = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !at.checkVisibility({ visibilityProperty: true })) continue;
  const above = [];
  for (let one = at; one; one = one.parentElement) above.unshift(getComputedStyle(one));
  const surface = above.reduce((below, style) => over(parts(style.backgroundColor), below), [255, 255, 255]);
  const opacity = above.reduce((product, style) => product * Number(style.opacity), 1);
  const [r, g, b, a = 1] = parts(getComputedStyle(at).color);
  const [low, high] = [light(over([r, g, b, a * opacity], surface)), light(surface)].sort((one, two) => one - two);
  seen++;
  if ((high + 0.05) / (low + 0.05) < 4.5) failed.push(`${at.className || at.id || at.tagName}: ${at.textContent}`);
}
return [seen, failed];
"""
"""Returns how many texts are shown, and those that are hard to read on what is really below them."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_that_is_shown_can_be_read(page: Browser, *, dark: bool) -> None:
    page.resize(1440, 2400, dark=dark)
    page.until("return document.documentElement.dataset.theme === arguments[0]", "dark" if dark else "light")
    tabs = page.run("return [...document.querySelectorAll('#tabs [role=tab]')].map((one) => one.id)")
    assert len(tabs) > 3
    states = [
        *((f"document.getElementById('{tab}').click()") for tab in tabs),
        "document.getElementById('map').focus()",
    ]
    for state in states:
        page.run(state)
        seen, failed = page.run(CONTRASTS)
        assert seen > 50, state
        assert failed == [], state
    page.press("2", "/", *"usr/lib/l", "Enter", "ArrowDown", "?")
    assert page.run("return document.getElementById('keys').open")
    assert page.run(CONTRASTS)[1] == []


def test_what_a_screen_reader_is_told(page: Browser) -> None:
    page.press("/", *"short", "Enter")
    page.tell("Accessibility.enable")
    nodes = [one for one in page.tell("Accessibility.getFullAXTree")["nodes"] if not one["ignored"]]
    page.tell("Accessibility.disable")
    found = [
        (
            one["role"]["value"],
            one.get("name", {}).get("value", ""),
            {each["name"]: each["value"].get("value") for each in one["properties"]},
        )
        for one in nodes
    ]
    # Whatever can be reached has a name, and an ID is there once.
    assert [one for one in found if one[2].get("focusable") and not one[1] and one[0] != "RootWebArea"] == []
    ids = page.run("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    pointed = page.run(
        "return ['aria-controls', 'aria-labelledby', 'aria-activedescendant'].flatMap((name) =>"
        " [...document.querySelectorAll(`[${name}]`)].filter((one) => !document.getElementById(one.getAttribute(name)))"
        ".map((one) => `${name} of ${one.id}`))"
    )
    assert pointed == []
    rows = {name.partition(",")[0]: (name, properties) for role, name, properties in found if role == "treeitem"}
    assert rows["usr"][1] | {"level": 2, "expanded": True} == rows["usr"][1]
    name, properties = rows["short"]
    assert "removed" in name
    assert "bytes" in name
    assert properties["level"] == 4
    assert properties["selected"] is True
    assert "expanded" not in properties
    roles = {role for role, _, _ in found}
    assert {"tree", "tablist", "tabpanel", "image", "heading", "searchbox"} <= roles
    (tab,) = [name for role, name, properties in found if role == "tab" and properties.get("selected")]
    assert tab == "Path"


def test_only_rows_that_can_be_seen_exist_and_they_fill_the_tree(page: Browser) -> None:
    covered = (
        "const box = document.getElementById('tree').getBoundingClientRect();"
        "const rows = [...document.querySelectorAll('.row')].map((one) => one.getBoundingClientRect());"
        "return [rows.length, Math.min(...rows.map((one) => one.top)) <= box.top + 1,"
        " Math.max(...rows.map((one) => one.bottom)) >= box.bottom - 1]"
    )
    page.run("document.getElementById('tree').focus()")
    page.press("Home", "ArrowDown", "*")
    page.until("return Number(document.getElementById('tree').scrollHeight) > 400 * 26")
    for key in ("End", "ArrowUp", "Home"):
        page.press(key)
        page.until(f"const found = (() => {{ {covered} }})(); return found[1] && found[2]")
        assert page.run("return document.querySelectorAll('.row').length") <= 80


@pytest.mark.sampled(3)
def test_searches_and_zooms_leave_nothing_in_memory(page: Browser) -> None:
    def used() -> int:
        for _ in range(2):
            page.tell("HeapProfiler.collectGarbage")
        return int(page.tell("Runtime.getHeapUsage")["usedSize"])

    def look() -> None:
        for word in ("usr/l", "f1", "o"):
            page.press("/", *word, "Enter", "Enter", "s", "v", "Backspace", "s", "f", "Escape", "Escape")

    for _ in range(3):
        look()
    before = used()
    for _ in range(10):
        look()
    assert used() < 1.05 * before + 200_000


def test_a_store_is_shown_live_and_asks_for_its_token(
    chromium: Browser, tmp_path: Path, made: Path, report: dict[str, Any]
) -> None:
    chromium.resize(1440, 900)
    with orlop.open(tmp_path / "root") as images:
        images.load(str(made / "new.tar"))
        options = Options(page=Page(ENDPOINTS, is_page, PARTS, HEADERS))
        with serving(images, "tcp://127.0.0.1:0", security=Security(token="abc"), options=options) as (place,):
            chromium.console()
            chromium.requests()
            base = place.replace("tcp", "http")
            chromium.open(f"{base}/ui/")
            chromium.click("#token")
            chromium.press(*"abd", "Enter")
            chromium.until("return document.getElementById('problem').textContent.includes('not the token')")
            chromium.press(*"abc", "Enter")
            chromium.until("return document.getElementById('store') !== null")
            assert chromium.texts("#store .open") == ["made:1"]
            # There is nothing to search or to compare before an image is shown.
            assert chromium.run("return document.getElementById('search').checkVisibility()") is False
            assert chromium.run("return document.querySelector('#store .compare').disabled") is True
            for width in (320, 390, 1440):
                chromium.resize(width, 900)
                assert chromium.run("return document.documentElement.scrollWidth") == width
                # Two lines at most: no word is broken into a column of letters.
                cells = "return [...document.querySelectorAll('#store td')]"
                assert max(chromium.run(f"{cells}.map((one) => one.getBoundingClientRect().height)")) < 50
            chromium.click("#store .open")
            chromium.until("return document.querySelectorAll('.layer').length === 3")
            hidden = chromium.run("return [...document.querySelectorAll('.layer')].map((one) => one.dataset.hidden)")
            assert hidden == [str(one["Hidden"]) for one in report["Layers"]]
            assert {url.startswith(f"{base}/ui/") for _, url in chromium.requests()} == {True}
            # The browser itself notes that data was refused before there was a token.
            assert [line for line in chromium.console() if "401" not in line] == []


def test_an_image_that_is_gone_is_told_and_the_others_are_shown(chromium: Browser, tmp_path: Path) -> None:
    chromium.resize(1440, 900)
    with orlop.open(tmp_path / "root") as images:
        for name in ("gone", "there"):
            images.load(io.BytesIO(image(layer((name, b"x")), tag=f"{name}:1")))
        options = Options(page=Page(ENDPOINTS, is_page, PARTS, HEADERS))
        with serving(images, "tcp://127.0.0.1:0", security=Security(anonymous=True), options=options) as (place,):
            base = place.replace("tcp", "http")
            chromium.open(f"{base}/ui/")
            images.remove("gone:1")
            opened = "[...document.querySelectorAll('#store .open')].find((one) => one.textContent === arguments[0])"
            chromium.console()
            chromium.run(f"{opened}.click()", "gone:1")
            chromium.until("return document.getElementById('problem').textContent.startsWith('No such image')")
            assert chromium.run("return document.getElementById('problem').checkVisibility()") is True
            # The browser itself notes the status.
            assert [line for line in chromium.console() if "404" not in line] == []
            chromium.run(f"{opened}.click()", "there:1")
            chromium.until("return document.querySelectorAll('.layer').length === 1")
            assert chromium.texts("#problem") == [""]


def test_of_two_images_that_are_opened_the_last_one_is_shown(chromium: Browser, tmp_path: Path) -> None:
    chromium.resize(1440, 900)
    with orlop.open(tmp_path / "root") as images:
        for name in ("first", "last"):
            images.load(io.BytesIO(image(layer((name, b"x")), tag=f"{name}:1")))
        options = Options(page=Page(ENDPOINTS, is_page, PARTS, HEADERS))
        with serving(images, "tcp://127.0.0.1:0", security=Security(anonymous=True), options=options) as (place,):
            chromium.open(f"{place.replace('tcp', 'http')}/ui/")
            chromium.run(
                "const asked = window.fetch; let first = true; window.ended = false;"
                "window.fetch = async (path, how) => {"
                "  const slow = first; first = false; const answer = await asked(path, how);"
                "  if (slow) await new Promise((go) => { window.letGo = go; });"
                "  if (slow) setTimeout(() => { window.ended = true; }, 200);"
                "  return answer; };"
                "for (const name of ['first:1', 'last:1'])"
                "  [...document.querySelectorAll('#store .open')].find((one) => one.textContent === name).click();"
            )
            chromium.until("return document.getElementById('title').textContent === 'last:1' && 'letGo' in window")
            chromium.run("window.letGo()")
            chromium.until("return window.ended")
            assert chromium.texts("#title") == ["last:1"]

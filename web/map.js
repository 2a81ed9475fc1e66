// The map: a canvas that shows a tree as rectangles or as a sunburst, with a line below that tells what is pointed at.

import { byId, element } from "./dom.js";
import { printable, showText, humanBytes, grouped } from "./text.js";
import { layoutMap, drawMap, hitMap, frameMap } from "./treemap.js";
import { layoutSun, drawSun, hitSun, frameSun } from "./sunburst.js";
import { isBelow, pathOf } from "./tree.js";
import { GLYPHS } from "./views.js";

const SHAPES = {
  map: [layoutMap, drawMap, hitMap, frameMap],
  sun: [layoutSun, drawSun, hitSun, frameSun],
};

/** Make the map. `app` has the state (view, top, selected, shape, dimmed) and what is called: select, zoom. */
export function makeMap(app) {
  const canvas = byId("map");
  const context = canvas.getContext("2d", { alpha: false });
  let colours = null;
  let out = null;
  let waiting = false;

  function paint() {
    const { view } = app;
    const dead = (row) => app.isDimmed(row);
    return {
      ...colours,
      isFolder: (row) => view.tree.first[row] !== view.tree.first[row + 1],
      colour: (row) => (dead(row) ? colours.dimmed : colours.layers[view.paletteOf(row)] || colours.folder),
      textOn: (row) => (dead(row) ? colours.dimmedText : view.paletteOf(row) < 0 ? colours.text : colours.tileText),
      label: (row, start = row) => signOf(row) + printable(namesBetween(start, row).join("/")),
      size: (row) => humanBytes(app.drawn.total[row]),
      // What is too wide is written narrower.
      write: (...all) => context.fillText(...all),
    };
  }

  /** Return the sign of how a path differs; the colours of layers have numbers beside them. */
  function signOf(row) {
    const sign = app.view.key === "compare" && GLYPHS[app.view.stateOf(row)];
    return sign ? `${sign} ` : "";
  }

  /** Return the names from a directory to one below it, with nothing else in any. */
  function namesBetween(start, row) {
    const names = [];
    for (let at = row; at > start; at = app.view.tree.shape.parent[at]) names.unshift(app.view.nameOf(at));
    if (start > 0 || row === 0) names.unshift(start === 0 ? "/" : app.view.nameOf(start));
    return names;
  }

  function draw() {
    waiting = false;
    if (!app.view) return;
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colours.folder;
    context.fillRect(0, 0, width, height);
    const [layout, drawAll, , frame] = SHAPES[app.shape];
    out = layout(app.drawn, app.top, width, height);
    canvas.dataset.shapes = String(out.count || out.row.length);
    drawAll(context, out, paint());
    const { shape } = app.view.tree;
    if (app.selected !== app.top) frame(context, out, (row) => isBelow(shape, app.selected, row), colours.accent);
  }

  function rowAtPoint(event) {
    if (!out) return -1;
    const box = canvas.getBoundingClientRect();
    const at = SHAPES[app.shape][2](out, event.clientX - box.left, event.clientY - box.top);
    return at < 0 ? -1 : out.row[at];
  }

  canvas.addEventListener("mousemove", (event) => {
    const row = rowAtPoint(event);
    if (row >= 0) tell(row);
  });
  canvas.addEventListener("mouseleave", () => app.view && tell(app.selected));
  canvas.addEventListener("click", (event) => {
    const row = rowAtPoint(event);
    if (row < 0) return;
    // The middle of a sunburst leads out again; what is selected already is looked into.
    if (app.shape === "sun" && row === app.top) app.zoom(Math.max(0, app.view.tree.shape.parent[row]));
    else if (row === app.selected) app.zoom(row);
    else app.select(row);
  });

  function tell(row) {
    const status = byId("status");
    const { view } = app;
    const text = `${pathOf(view.tree.shape, row)}  ${humanBytes(view.tree.total[row])} (${grouped(view.tree.total[row])} bytes)${view.noteOf(row)}${app.out.has(row) ? ", left out" : ""}`;
    showText(status, text);
    status.dataset.row = String(row);
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function showCrumbs() {
    const { out, selected, view: { tree: { shape } } } = app;
    Object.assign(byId("leave"), { disabled: !selected, textContent: out.has(selected) ? "Take in" : "Leave out" });
    Object.assign(byId("all"), { hidden: !out.size, textContent: `Take in all (${out.size})` });
    const above = [];
    for (let row = app.top; row >= 0; row = shape.parent[row]) above.unshift(row);
    byId("crumbs").replaceChildren(...above.map((row) => {
      const button = element("button", { type: "button", onclick: () => app.zoom(row) });
      return showText(button, row === 0 ? "/" : `${shape.names[row]}/`);
    }));
  }

  new ResizeObserver(redraw).observe(canvas);
  return {
    redraw,
    tell,
    showCrumbs,
    /** Read the colours again, after the theme has changed. */
    readColours() {
      const style = getComputedStyle(document.documentElement);
      const read = (name) => style.getPropertyValue(`--${name}`).trim();
      colours = {
        layers: Array.from({ length: 8 }, (_, i) => read(`layer-${i}`)),
        folder: read("folder"), edge: read("edge"), text: read("text"), tileText: read("tile-text"),
        dimmed: read("dimmed"), dimmedText: read("dimmed-text"), accent: read("accent"),
      };
      redraw();
    },
  };
}

// The state of the page, and what changes it. Whatever is selected anywhere is selected everywhere.

import { byId, fillChoice } from "./dom.js";
import { counted } from "./text.js";
import { search, isBelow, without } from "./tree.js";
import { compareView, hiddenView, readPaths, sizeView } from "./views.js";
import { makeMap } from "./map.js";
import { makeRows } from "./rows.js";
import { makeKeys } from "./keys.js";
import { makeTheme } from "./theme.js";
import { placeOf, showFacts, showLayers, showPanel, tabKey } from "./panels.js";

const WAIT = 60;

/** Make the page. It is empty until `show` gets an image. */
export function makeApp() {
  const app = {
    view: null, views: {}, document: null, comparison: null, paths: null,
    shape: "map", top: 0, selected: 0, solo: 0, query: "", found: null, panel: "path",
    out: new Set(), drawn: null,

    show(image, comparison) {
      app.document = image;
      app.comparison = comparison;
      app.paths = readPaths(image.paths);
      app.views = { size: sizeView(app.paths) };
      if (app.paths.hidden.size) app.views.hidden = hiddenView(app.paths);
      if (comparison) app.views.compare = compareView(comparison);
      Object.assign(app, { solo: 0, query: "", found: null, top: 0, selected: 0, out: new Set(), panel: comparison ? "changes" : "path" });
      showFacts(image);
      showLayers(app);
      app.setView("size");
      readHash();
    },

    setView(key) {
      const path = app.view && app.view.tree.shape !== app.views[key].tree.shape;
      app.view = app.views[key];
      if (path) Object.assign(app, { top: 0, selected: 0, out: new Set() });
      const { columns } = app.view.paths || {};
      const summed = columns && columns.rest.length ? `; small files are summed up, ${counted(columns.rest.reduce((sum, [, count]) => sum + count, 0), "path")} in all` : "";
      byId("count").textContent = `${counted(app.view.tree.shape.count - 1, "row")}${summed}`;
      const views = Object.values(app.views).map((view) => [view.key, view.label]);
      fillChoice(byId("modes"), views, key, app.setView);
      app.search();
      app.refresh();
    },

    setShape(shape) {
      app.shape = shape;
      app.refresh();
    },

    /** Leave a row out of the map, or take it in again; 0 takes all in. */
    leaveOut(row) {
      const { shape } = app.view.tree;
      if (!row) app.out.clear();
      else if (!app.out.delete(row)) app.out.add(row);
      while ([...app.out].some((one) => isBelow(shape, app.top, one))) app.top = shape.parent[app.top];
      app.refresh();
    },

    setSolo(layer) {
      app.solo = layer === app.solo || layer > app.document.layers.length ? 0 : layer;
      for (const one of byId("layers").querySelectorAll("button")) one.setAttribute("aria-pressed", String(Number(one.dataset.layer) === app.solo));
      app.map.redraw();
    },

    setPanel(key) {
      app.panel = key;
      showPanel(app);
    },

    setQuery(text) {
      if (byId("search").value !== text) byId("search").value = text;
      if (app.query === text) return;
      app.query = text;
      app.search();
      app.rows.list();
      app.map.redraw();
    },

    search() {
      const result = search(app.view.tree.shape, app.query);
      app.found = result && result.found;
      app.firstMatch = result ? result.first : -1;
      byId("matches").textContent = result ? counted(result.matches, "match", "matches") : "";
    },

    goToMatch() {
      app.setQuery(byId("search").value);
      if (app.firstMatch < 0) return;
      app.select(app.firstMatch);
      byId("tree").focus();
    },

    goTo(path) {
      const found = placeOf(app, path);
      if (!found) return;
      const [view, row] = found;
      if (view !== app.view) app.setView(view.key);
      if (app.found && !app.found[row]) app.setQuery("");
      app.select(row, { keepPanel: true });
    },

    select(row, { keepPanel = false } = {}) {
      app.selected = row;
      if (!isBelow(app.view.tree.shape, row, app.top)) app.top = 0;
      if (!keepPanel) app.panel = "path";
      if (!keepPanel || app.panel === "path") showPanel(app);
      app.rows.reveal(row);
      app.map.tell(row);
      app.map.showCrumbs();
      app.map.redraw();
      writeHash();
    },

    zoom(row) {
      const { tree } = app.view;
      app.top = tree.first[row] === tree.first[row + 1] ? Math.max(0, tree.shape.parent[row]) : row;
      if (!(tree.total[app.top] > 0)) app.top = 0;
      app.select(row);
    },

    zoomOut() {
      app.zoom(Math.max(0, app.view.tree.shape.parent[app.top]));
    },

    nextView() {
      const keys = Object.keys(app.views);
      app.setView(keys[(keys.indexOf(app.view.key) + 1) % keys.length]);
    },

    nextLayer(step) {
      const count = app.document.layers.length;
      app.setSolo(Math.min(count, Math.max(1, app.solo + step || (step < 0 ? count : 1))));
    },

    isDimmed(row) {
      if (app.found && !app.found[row]) return true;
      return app.solo > 0 && app.view.key !== "compare" && app.view.numberOf(row) !== app.solo;
    },

    refresh() {
      app.drawn = without(app.view.tree, app.out);
      fillChoice(byId("shapes"), [["map", "Tree map"], ["sun", "Sunburst"]], app.shape, app.setShape);
      showPanel(app);
      app.rows.list();
      app.map.tell(app.selected);
      app.map.showCrumbs();
      app.map.redraw();
      writeHash();
    },

    tabKey: (event) => tabKey(app, event),
  };

  function writeHash() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [key, value, usual] of [["at", app.selected, 0], ["top", app.top, 0], ["view", app.view.key, "size"], ["shape", app.shape, "map"]]) {
      if (value === usual) state.delete(key);
      else state.set(key, String(value));
    }
    const text = `#${state}`;
    if (text === (location.hash || "#")) return;
    const was = new URLSearchParams(location.hash.slice(1));
    // To zoom is a step that "back" takes back; to move is not.
    if ((was.get("top") || "0") === String(app.top)) history.replaceState(null, "", text);
    else history.pushState(null, "", text);
  }

  function readHash() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (!app.view) return;
    if (app.views[state.get("view")] && state.get("view") !== app.view.key) app.setView(state.get("view"));
    const { count } = app.view.tree.shape;
    const row = (key) => Math.min(count - 1, Math.max(0, Number.parseInt(state.get(key), 10) || 0));
    if (state.get("shape") === "sun" && app.shape !== "sun") app.setShape("sun");
    app.top = row("top");
    app.select(row("at"), { keepPanel: row("at") === 0 });
  }

  app.map = makeMap(app);
  app.rows = makeRows(app);
  app.theme = makeTheme(byId("theme"), () => app.map.readColours());
  makeKeys(app);
  byId("leave").onclick = () => app.leaveOut(app.selected);
  byId("all").onclick = () => app.leaveOut(0);
  let timer = 0;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => app.view && app.setQuery(event.target.value), WAIT);
  });
  addEventListener("popstate", readHash);
  return app;
}

// Keys, and the page that lists them.

import { byId, element } from "./dom.js";

const KEYS = [
  ["/", "search; a text with a slash is a part of a path, up to the name that is found"],
  ["Enter", "in the search: go to the first match; in the tree or the map: zoom in"],
  ["Esc", "end the search, then zoom out"],
  ["↑ ↓ Home End", "move in the tree or the map"],
  ["→ ←", "open and close a directory"],
  ["*", "open all directories beside the selected one"],
  ["Backspace", "zoom out"],
  ["v", "what is shown: visible, hidden or compared bytes"],
  ["s", "tree map or sunburst"],
  ["1 … 9, 0", "dim all layers but one; show all again"],
  ["[ ]", "the next layer down or up alone"],
  ["x X", "leave the selected path out of the map, or take it in again; take in all"],
  ["f", "findings"],
  ["t", "dark or light"],
  ["?", "these keys"],
];

/** Listen to keys; `app` does what they ask for. */
export function makeKeys(app) {
  byId("keys-table").replaceChildren(...KEYS.map(([keys, what]) =>
    element("tr", null, element("td", null, ...keys.split(" ").map((key) => element("kbd", { textContent: key }))), element("td", { textContent: what }))));
  const dialog = byId("keys");
  byId("help").addEventListener("click", () => dialog.showModal());
  byId("keys-close").addEventListener("click", () => dialog.close());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || dialog.open) return;
    if (press(app, event)) event.preventDefault();
  });
}

function press(app, event) {
  const { target, key } = event;
  if (key === "?" && target.tagName !== "INPUT") {
    byId("keys").showModal();
    return true;
  }
  if (!app.view) return false;
  if (target.id === "search") return inSearch(app, key);
  if (target.tagName === "INPUT") return false;
  if (target.id === "tree" || target.id === "map") {
    if (app.rows.key(event)) return true;
  } else if (target.role === "tab" && app.tabKey(event)) return true;
  if (key >= "0" && key <= "9") {
    app.setSolo(key === "0" ? app.solo : Number(key));
    return true;
  }
  const actions = {
    "/": () => byId("search").focus(),
    Escape: () => (app.query ? app.setQuery("") : app.zoomOut()),
    Backspace: () => app.zoomOut(),
    v: () => app.nextView(),
    s: () => app.setShape(app.shape === "map" ? "sun" : "map"),
    t: () => app.theme.toggle(),
    x: () => app.leaveOut(app.selected),
    X: () => app.leaveOut(0),
    f: () => app.setPanel("findings"),
    "[": () => app.nextLayer(-1),
    "]": () => app.nextLayer(1),
  };
  if (!actions[key]) return false;
  actions[key]();
  return true;
}

function inSearch(app, key) {
  if (key === "Enter") {
    app.goToMatch();
    return true;
  }
  if (key !== "Escape") return false;
  app.setQuery("");
  byId("tree").focus();
  return true;
}

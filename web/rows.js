// The tree of files: a list of rows of which only those exist that can be seen.

import { byId, element } from "./dom.js";
import { showText, humanBytes, grouped, printable } from "./text.js";
import { GLYPHS } from "./views.js";

const HEIGHT = 26;
const HIGHEST = 15000000;

/** Make the tree of files; see `makeMap` for `app`. */
export function makeRows(app) {
  const box = byId("tree");
  const spacer = byId("spacer");
  let rows = new Int32Array(0);
  let place = new Int32Array(0);
  let open = null;
  let opened = null;

  /** List the rows that are open, in the order of the tree. */
  function list() {
    const { tree } = app.view;
    if (opened !== tree.shape) {
      opened = tree.shape;
      open = new Uint8Array(tree.shape.count);
      open[0] = 1;
      place = new Int32Array(tree.shape.count);
    }
    const found = app.found;
    const listed = [];
    const todo = [0];
    while (todo.length) {
      const row = todo.pop();
      listed.push(row);
      const isOpen = open[row] || (found && found[row] & 1);
      if (!isOpen) continue;
      for (let k = tree.first[row + 1] - 1; k >= tree.first[row]; k--) {
        const kid = tree.kids[k];
        if (!found || found[kid]) todo.push(kid);
      }
    }
    rows = Int32Array.from(listed);
    place.fill(-1);
    for (let i = 0; i < rows.length; i++) place[rows[i]] = i;
    spacer.style.height = `${Math.min(HIGHEST, rows.length * HEIGHT)}px`;
    show();
  }

  /** Return how many times the list is higher than what a browser can scroll. */
  function scale() {
    return Math.max(1, (rows.length * HEIGHT - box.clientHeight) / Math.max(1, Math.min(HIGHEST, rows.length * HEIGHT) - box.clientHeight));
  }

  function show() {
    if (!app.view) return;
    const factor = scale();
    const offset = box.scrollTop * factor;
    const from = Math.max(0, Math.floor(offset / HEIGHT) - 4);
    const to = Math.min(rows.length, from + Math.ceil(box.clientHeight / HEIGHT) + 9);
    const made = [];
    for (let i = from; i < to; i++) made.push(makeRow(rows[i], i, box.scrollTop + i * HEIGHT - offset));
    spacer.replaceChildren(...made);
    const selected = place[app.selected] >= from && place[app.selected] < to;
    if (selected) box.setAttribute("aria-activedescendant", `row-${app.selected}`);
    else box.removeAttribute("aria-activedescendant");
  }

  function makeRow(row, index, top) {
    const { view } = app;
    const { shape, total, first } = view.tree;
    const isFolder = first[row] !== first[row + 1];
    const isOpen = isFolder && (open[row] || (app.found && app.found[row] & 1));
    const name = row === 0 ? "/" : view.nameOf(row);
    const size = total[row];
    const above = total[shape.parent[row]] || size;
    const twist = element("span", { className: "twist", textContent: isFolder ? (isOpen ? "▾" : "▸") : "" });
    const label = showText(element("span", { className: "name", title: printable(name) }), name);
    const state = view.stateOf(row);
    const out = app.out.has(row);
    const fill = element("span", { className: `fill ${view.chipOf(row).className}` });
    fill.style.display = "block";
    fill.style.width = `${above > 0 ? Math.round((100 * size) / above) : 0}%`;
    const chip = view.chipOf(row);
    const made = element("div",
      {
        id: `row-${row}`,
        className: `row${view.isGone(row) ? " gone" : ""}${out ? " out" : ""}`,
        role: "treeitem",
        data: { row: String(row), size: String(size) },
        aria: {
          level: String(shape.depth[row] + 1),
          selected: String(row === app.selected),
          label: `${printable(name)}, ${grouped(size)} bytes${chip.text ? `, ${chip.title}` : ""}${state ? `, ${state}` : ""}${out ? ", left out of the map" : ""}`,
        },
      },
      twist, label,
      element("span", { className: "mark", textContent: (GLYPHS[state] || "") + (out ? "×" : ""), title: state }),
      element("span", { className: "where" },
        chip.text ? element("span", { className: `chip ${chip.className}`, textContent: chip.text, title: chip.title }) : null),
      element("span", { className: "share" }, fill),
      element("span", { className: "size", textContent: humanBytes(size), title: `${grouped(size)} bytes` }));
    if (isFolder) made.setAttribute("aria-expanded", String(Boolean(isOpen)));
    made.style.paddingLeft = `${8 + 14 * Math.min(shape.depth[row], 12)}px`;
    made.style.transform = `translateY(${top}px)`;
    made.dataset.index = String(index);
    return made;
  }

  function reveal(row) {
    const { parent } = app.view.tree.shape;
    let changed = false;
    for (let at = parent[row]; at >= 0; at = parent[at]) {
      if (!open[at]) changed = true;
      open[at] = 1;
    }
    if (changed || place[row] < 0) list();
    const factor = scale();
    const y = place[row] * HEIGHT;
    const offset = box.scrollTop * factor;
    if (y < offset) box.scrollTop = y / factor;
    else if (y + HEIGHT > offset + box.clientHeight) box.scrollTop = (y + HEIGHT - box.clientHeight) / factor + 1;
    show();
  }

  function toggle(row, wanted) {
    open[row] = wanted === undefined ? 1 - open[row] : Number(wanted);
    list();
  }

  box.addEventListener("scroll", () => requestAnimationFrame(show));
  spacer.addEventListener("click", (event) => {
    const found = event.target.closest(".row");
    if (!found) return;
    const row = Number(found.dataset.row);
    if (event.target.classList.contains("twist") || row === app.selected) toggle(row);
    app.select(row);
  });
  new ResizeObserver(show).observe(box);

  function key(event) {
    const { tree } = app.view;
    const row = app.selected;
    const at = Math.max(0, place[row]);
    const page = Math.max(1, Math.floor(box.clientHeight / HEIGHT) - 1);
    const isFolder = tree.first[row] !== tree.first[row + 1];
    const isOpen = open[row] || (app.found && app.found[row] & 1);
    const moves = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      PageDown: () => go(at + page),
      PageUp: () => go(at - page),
      Home: () => go(0),
      End: () => go(rows.length - 1),
      ArrowRight: () => {
        if (isFolder && !isOpen) toggle(row, true);
        else if (isFolder) go(at + 1);
      },
      ArrowLeft: () => {
        if (isFolder && open[row]) toggle(row, false);
        else if (row > 0) app.select(tree.shape.parent[row]);
      },
      Enter: () => app.zoom(row),
      "*": () => {
        const above = Math.max(0, tree.shape.parent[row]);
        for (let k = tree.first[above]; k < tree.first[above + 1]; k++) open[tree.kids[k]] = 1;
        list();
      },
    };
    if (!moves[event.key]) return false;
    moves[event.key]();
    return true;
  }

  function go(index) {
    if (rows.length) app.select(rows[Math.min(rows.length - 1, Math.max(0, index))]);
  }

  return { list, show, reveal, key };
}

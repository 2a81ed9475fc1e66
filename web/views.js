// What can be shown of an image: where its bytes are, which of them are hidden, and how it differs from another one.

import { makeShape, weigh } from "./tree.js";
import { counted } from "./text.js";

/** Signs for what happened to a path, which tell it without colours. */
export const GLYPHS = { added: "+", changed: "~", replaced: "~", removed: "−", grown: "▲", shrunk: "▼" };

const ACTIONS = ["added", "changed", "replaced", "removed"];

/** Return the paths of a document as columns, with what only some rows have in maps. */
export function readPaths(columns) {
  const pairs = (name) => new Map(columns[name].map(([row, ...rest]) => [row, rest]));
  const events = pairs("events");
  return {
    columns,
    shape: makeShape(columns),
    hidden: pairs("hidden"),
    gone: new Set(columns.gone),
    again: new Set(columns.again),
    targets: pairs("targets"),
    rest: pairs("rest"),
    /** Return what layers did to a row: objects of a layer, an action and a size. */
    eventsOf(row) {
      const coded = events.get(row);
      if (!coded) return columns.layers[row] ? [{ layer: columns.layers[row], action: "added", size: columns.sizes[row] }] : [];
      const told = [];
      for (let i = 0; i < coded.length; i += 2) {
        told.push({ layer: coded[i] >> 2, action: ACTIONS[coded[i] & 3], size: coded[i + 1] });
      }
      return told;
    },
  };
}

/** Return how many files each layer added, changed and removed: arrays by the number of the layer. */
export function countEvents(paths, layers) {
  const counts = Array.from({ length: layers + 1 }, () => ({ added: 0, changed: 0, removed: 0 }));
  const { columns, shape } = paths;
  for (let row = 1; row < shape.count; row++) {
    if (columns.attributes[columns.kinds[row]][0] === "dir" || paths.rest.has(row)) continue;
    for (const { layer, action } of paths.eventsOf(row)) {
      if (counts[layer]) counts[layer][action === "replaced" ? "changed" : action]++;
    }
  }
  return counts;
}

function layerView(paths, key, label, own, layers) {
  const tree = weigh(paths.shape, own, layers);
  const numberOf = (row) => tree.colour[row];
  return {
    key,
    label,
    paths,
    tree,
    numberOf,
    nameOf: (row) => (paths.rest.has(row) ? counted(paths.rest.get(row)[0], "small file") : paths.shape.names[row]),
    paletteOf: (row) => (numberOf(row) > 0 ? (numberOf(row) - 1) % 8 : -1),
    chipOf: (row) => ({
      text: numberOf(row) > 0 ? String(numberOf(row)) : "",
      title: `${paths.shape.folder[row] ? "mostly of layer" : "layer"} ${numberOf(row)}`,
      className: numberOf(row) > 0 ? `c${(numberOf(row) - 1) % 8}` : "",
    }),
    stateOf: (row) => {
      const told = paths.eventsOf(row);
      return paths.gone.has(row) ? "removed" : told.length > 1 ? "changed" : "";
    },
    isGone: (row) => paths.gone.has(row),
    noteOf: (row) => (numberOf(row) > 0 ? `, ${paths.shape.folder[row] ? "mostly of " : ""}layer ${numberOf(row)}` : ""),
  };
}

/** Return the view of all bytes that a container sees. */
export function sizeView(paths) {
  return layerView(paths, "size", "Visible", paths.columns.sizes, paths.columns.layers);
}

/** Return the view of the bytes that later layers hide. */
export function hiddenView(paths) {
  const own = new Float64Array(paths.shape.count);
  const layers = new Int16Array(paths.shape.count);
  for (const [row, [bytes]] of paths.hidden) {
    own[row] = bytes;
    const told = paths.eventsOf(row).filter((event) => event.action !== "removed");
    layers[row] = told.length ? told[0].layer : paths.columns.layers[row];
  }
  return layerView(paths, "hidden", "Hidden", own, layers);
}

const PALETTE = { added: 2, removed: 5, grown: 0, shrunk: 6, changed: 4 };

/** Return the view of what differs from another image: as large as the larger of both sides. */
export function compareView(comparison) {
  const { columns } = comparison;
  const shape = makeShape(columns);
  const states = Object.keys(PALETTE);
  const own = new Float64Array(shape.count);
  const colours = new Int16Array(shape.count);
  const state = new Array(shape.count).fill("");
  for (let row = 0; row < shape.count; row++) {
    const [before, after] = [columns.before[row], columns.after[row]];
    const kind = columns.changes[row];
    own[row] = Math.max(before, after);
    if (kind) state[row] = kind < 3 ? ["", "added", "removed"][kind] : after > before ? "grown" : after < before ? "shrunk" : "changed";
    colours[row] = kind ? states.indexOf(state[row]) + 1 : 0;
  }
  const tree = weigh(shape, own, colours);
  const rest = new Map(columns.rest);
  const kindOf = (row) => states[tree.colour[row] - 1] || "";
  return {
    key: "compare",
    label: "Compared",
    comparison,
    tree,
    numberOf: () => 0,
    nameOf: (row) => (rest.has(row) ? counted(rest.get(row), "small change") : shape.names[row]),
    paletteOf: (row) => (kindOf(row) ? PALETTE[kindOf(row)] : -1),
    chipOf: (row) => ({ text: "", title: "", className: kindOf(row) ? `c${PALETTE[kindOf(row)]}` : "" }),
    stateOf: (row) => state[row],
    isGone: (row) => state[row] === "removed",
    noteOf: (row) => (state[row] ? `, ${state[row]}` : ""),
    factsOf: (row) => columns.facts[columns.differing[row]] || [],
    sidesOf: (row) => [columns.before[row], columns.after[row]],
  };
}

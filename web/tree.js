// Trees as columns: typed arrays with a place for each row, rows in depth-first order, so that parents come first.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Return the shape of a tree: names, parents, depths, and whether rows are directories. */
export function makeShape(columns) {
  const names = decodedNames(columns.names);
  const count = names.length;
  const parent = new Int32Array(count).fill(-1);
  const depth = new Uint16Array(count);
  const folder = new Uint8Array(count);
  const left = new Int32Array(count);
  let above = -1;
  for (let row = 0; row < count; row++) {
    while (above >= 0 && left[above] === 0) above = parent[above];
    if (above >= 0) {
      left[above]--;
      parent[row] = above;
      depth[row] = depth[above] + 1;
    }
    const children = columns.children[row];
    folder[row] = children > 0 ? 1 : 0;
    if (children > 1) {
      left[row] = children - 1;
      above = row;
    }
  }
  return { count, names, parent, depth, folder, lower: null };
}

function decodedNames(coded) {
  const names = new Array(coded.length);
  let before = "";
  for (let i = 0; i < coded.length; i++) {
    const shared = DIGITS.indexOf(coded[i][0]);
    before = before.slice(0, shared) + coded[i].slice(1);
    names[i] = before;
  }
  return names;
}

/**
 * Return a tree with weights: `total` of what is below each row, children in the order of their weight, and the colour
 * of each row, for a directory that of its heaviest child.
 */
export function weigh(shape, own, colours) {
  const { count, parent } = shape;
  const total = Float64Array.from(own);
  const first = new Int32Array(count + 1);
  for (let row = count - 1; row > 0; row--) {
    total[parent[row]] += total[row];
    first[parent[row] + 1]++;
  }
  for (let row = 0; row < count; row++) first[row + 1] += first[row];
  const kids = new Int32Array(Math.max(0, count - 1));
  const next = first.slice();
  for (let row = 1; row < count; row++) kids[next[parent[row]]++] = row;
  const colour = Int16Array.from(colours);
  for (let row = count - 1; row >= 0; row--) {
    const from = first[row];
    const to = first[row + 1];
    if (to - from > 1) kids.subarray(from, to).sort(byWeight(total));
    if (to > from && total[row] > 0) colour[row] = colour[kids[from]];
  }
  return { shape, total, own, kids, first, colour };
}

function byWeight(total) {
  return (one, other) => total[other] - total[one] || one - other;
}

/** Return a tree without the weight of some rows, and of what is below them. */
export function without(tree, rows) {
  if (!rows.size) return tree;
  const { shape, first } = tree;
  const total = tree.total.slice();
  const kids = tree.kids.slice();
  const above = new Set();
  // What is in another one comes before it, and counts once.
  for (const row of [...rows].sort((one, other) => other - one)) {
    const gone = total[row];
    for (let at = row; at >= 0; at = shape.parent[at]) {
      total[at] -= gone;
      above.add(at);
    }
  }
  for (const row of above) kids.subarray(first[row], first[row + 1]).sort(byWeight(total));
  return { ...tree, total, kids };
}

/** Return the path of a row. */
export function pathOf(shape, row) {
  if (row === 0) return "/";
  const parts = [];
  for (let at = row; at > 0; at = shape.parent[at]) parts.push(shape.names[at]);
  return `/${parts.reverse().join("/")}`;
}

/** Return the row at a path, or -1. */
export function rowAt(tree, path) {
  let row = 0;
  for (const part of path.split("/")) {
    if (!part) continue;
    let found = -1;
    for (let i = tree.first[row]; i < tree.first[row + 1] && found < 0; i++) {
      if (tree.shape.names[tree.kids[i]] === part) found = tree.kids[i];
    }
    if (found < 0) return -1;
    row = found;
  }
  return row;
}

/** Return whether a row is another one or below it. */
export function isBelow(shape, row, top) {
  let at = row;
  while (at > top) at = shape.parent[at];
  return at === top;
}

/**
 * Return which rows a search finds (2), the directories above them (1), and what is below them (4, or that much more);
 * null if it looks for nothing.
 * A word is looked for in names, in any case; a text with a slash in paths, of which it must reach into the last name.
 */
export function search(shape, query) {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return null;
  shape.lower = shape.lower || shape.names.map((name) => name.toLowerCase());
  const { lower, parent, count } = shape;
  const fits = wanted.includes("/") ? pathFits(shape, wanted.split("/")) : (row) => lower[row].includes(wanted);
  const found = new Uint8Array(count);
  let matches = 0;
  let firstMatch = -1;
  for (let row = 1; row < count; row++) {
    if (lower[row] === "" || !fits(row)) continue;
    found[row] = 2;
    matches++;
    if (firstMatch < 0) firstMatch = row;
    for (let at = parent[row]; at >= 0 && !found[at]; at = parent[at]) found[at] = 1;
  }
  for (let row = 1; row < count; row++) if (found[parent[row]] > 1) found[row] |= 4;
  return { found, matches, first: firstMatch };
}

/**
 * Return whether the path of a row has a text, given by its parts, that ends in the last name: that name begins with the
 * last part, those above are the parts in between, and the one above these ends with the first part. So no path is put
 * together. Nothing behind the last slash stands for directories.
 */
function pathFits({ lower, parent, folder }, parts) {
  const whole = parts[parts.length - 1] === "";
  if (whole) parts.pop();
  const last = parts.length - 1;
  return (row) => {
    if (whole && !folder[row]) return false;
    let at = row;
    for (let i = last; i > 0; i--) {
      if (i === last && !whole ? !lower[at].startsWith(parts[i]) : lower[at] !== parts[i]) return false;
      at = parent[at];
      if (at < 0) return false;
    }
    return lower[at].endsWith(parts[0]);
  };
}

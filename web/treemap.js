// A tree map: rectangles whose areas are weights, squarified. What is below a few pixels is not drawn singly: nobody
// sees it, and leaving it out is what makes a hundred thousand files fast.

import { cut, LETTER } from "./text.js";

const MOST = 40000;
const LEAST_AREA = 14;
const HEAD = 16;

/** Return the rectangles of a tree from a row on: columns of numbers, outer ones first. */
export function layoutMap(tree, top, width, height) {
  const out = { count: 0, row: new Int32Array(MOST), start: new Int32Array(MOST), x: new Float32Array(MOST), y: new Float32Array(MOST),
    w: new Float32Array(MOST), h: new Float32Array(MOST), head: new Uint8Array(MOST) };
  const todo = [[top, 0, 0, width, height]];
  while (todo.length && out.count < MOST) {
    const [start, x, y, w, h] = todo.pop();
    const row = endOfChain(tree, start);
    const at = out.count++;
    out.row[at] = row;
    out.start[at] = start;
    out.x[at] = x;
    out.y[at] = y;
    out.w[at] = w;
    out.h[at] = h;
    if (tree.first[row] === tree.first[row + 1] || w < 3 || h < 3) continue;
    const headed = w > 46 && h > 2 * HEAD ? 1 : 0;
    const gap = w > 24 && h > 24 ? 1 : 0;
    out.head[at] = headed;
    const above = headed ? HEAD : gap;
    place(tree, row, x + gap, y + above, w - 2 * gap, h - above - gap, todo);
  }
  return out;
}

/** Return the last of directories that have only one another in them: `var/lib/apt` is one rectangle. */
function endOfChain(tree, row) {
  let at = row;
  for (;;) {
    const from = tree.first[at];
    if (from === tree.first[at + 1]) return at;
    const only = tree.kids[from];
    const alone = from + 1 === tree.first[at + 1] || tree.total[tree.kids[from + 1]] === 0;
    if (!alone || !tree.shape.folder[only] || tree.total[only] === 0) return at;
    at = only;
  }
}

/** Put the children of a row into a rectangle, row by row along its shorter side. */
function place(tree, row, left, up, width, height, todo) {
  let x = left;
  let y = up;
  let w = width;
  let h = height;
  let rest = tree.total[row] - tree.own[row];
  let i = tree.first[row];
  const end = tree.first[row + 1];
  while (i < end && rest > 0 && w >= 1 && h >= 1) {
    const scale = (w * h) / rest;
    if (tree.total[tree.kids[i]] * scale < LEAST_AREA) return;
    const side = Math.min(w, h);
    let sum = 0;
    let worst = Infinity;
    let j = i;
    const largest = tree.total[tree.kids[i]] * scale;
    while (j < end) {
      const area = tree.total[tree.kids[j]] * scale;
      if (area <= 0) break;
      const next = sum + area;
      const ratio = Math.max((side * side * largest) / (next * next), (next * next) / (side * side * area));
      if (ratio > worst) break;
      worst = ratio;
      sum = next;
      j++;
    }
    const thick = sum / side;
    let along = 0;
    for (let k = i; k < j; k++) {
      const long = (tree.total[tree.kids[k]] * scale) / thick;
      if (w < h) todo.push([tree.kids[k], x + along, y, long, thick]);
      else todo.push([tree.kids[k], x, y + along, thick, long]);
      along += long;
      rest -= tree.total[tree.kids[k]];
    }
    if (w < h) {
      y += thick;
      h -= thick;
    } else {
      x += thick;
      w -= thick;
    }
    i = j;
  }
}

/** Draw rectangles; `paint` tells colours, labels and what is selected. */
export function drawMap(context, out, paint) {
  for (let i = 0; i < out.count; i++) {
    const row = out.row[i];
    const [x, y, w, h] = [out.x[i], out.y[i], out.w[i], out.h[i]];
    const framed = paint.isFolder(row) && (out.head[i] || (w > 24 && h > 24));
    context.fillStyle = framed ? paint.folder : paint.colour(row);
    context.fillRect(x, y, w, h);
    if (w > 3 && h > 3) {
      context.strokeStyle = paint.edge;
      context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    }
    if (w > 46 && h > HEAD) {
      context.fillStyle = framed ? paint.text : paint.textOn(row);
      const most = Math.floor((w - 8) / LETTER);
      paint.write(cut(paint.label(row, out.start[i]), most), x + 4, y + 12, w - 8);
      if (!framed && h > 2 * HEAD) paint.write(cut(paint.size(row), most), x + 4, y + 27, w - 8);
    }
  }
}

/** Return the place of the innermost rectangle at a point, or -1. */
export function hitMap(out, x, y) {
  for (let i = out.count - 1; i >= 0; i--) {
    if (x >= out.x[i] && x < out.x[i] + out.w[i] && y >= out.y[i] && y < out.y[i] + out.h[i]) return i;
  }
  return -1;
}

/** Draw a frame around the selected row, or around the smallest directory above it that is drawn. */
export function frameMap(context, out, contains, colour) {
  let best = -1;
  for (let i = 0; i < out.count; i++) if (contains(out.row[i])) best = i;
  if (best < 0) return;
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.strokeRect(out.x[best] + 1.5, out.y[best] + 1.5, Math.max(1, out.w[best] - 3), Math.max(1, out.h[best] - 3));
  context.lineWidth = 1;
}

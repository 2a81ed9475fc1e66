// A sunburst: rings of arcs whose angles are weights, the directory that is shown in the middle.

import { cut, LETTER } from "./text.js";

const RINGS = 6;
const LEAST = 0.004;
const LINE = 14;
const GAP = 4;
const LEAST_LETTERS = 4;

/** Return the arcs of a tree from a row on: columns of numbers, inner ones first. */
export function layoutSun(tree, top, width, height) {
  const arcs = { row: [top], ring: [0], from: [0], to: [2 * Math.PI], width, height, radius: Math.min(width, height) / 2 - 2 };
  for (let i = 0; i < arcs.row.length; i++) {
    const row = arcs.row[i];
    if (arcs.ring[i] === RINGS || !(tree.total[row] > 0)) continue;
    let angle = arcs.from[i];
    const scale = (arcs.to[i] - arcs.from[i]) / tree.total[row];
    for (let k = tree.first[row]; k < tree.first[row + 1]; k++) {
      const size = tree.total[tree.kids[k]] * scale;
      if (size < LEAST) break;
      arcs.row.push(tree.kids[k]);
      arcs.ring.push(arcs.ring[i] + 1);
      arcs.from.push(angle);
      arcs.to.push(angle + size);
      angle += size;
    }
  }
  // The last arc is one of the outermost ring.
  arcs.step = arcs.radius / (arcs.ring[arcs.ring.length - 1] + 1);
  return arcs;
}

/** Draw arcs, see `drawMap`. */
export function drawSun(context, arcs, paint) {
  for (let i = 0; i < arcs.row.length; i++) {
    trace(context, arcs, i);
    context.fillStyle = i === 0 ? paint.folder : paint.colour(arcs.row[i]);
    context.fill();
    context.strokeStyle = paint.edge;
    context.stroke();
  }
  context.textAlign = "center";
  // After all arcs, so that none covers a part of a name.
  for (let i = 1; i < arcs.row.length; i++) label(context, arcs, i, paint);
  context.fillStyle = paint.text;
  paint.write(paint.size(arcs.row[0]), arcs.width / 2, arcs.height / 2 + 4);
  context.textAlign = "start";
}

function trace(context, arcs, i) {
  const { step } = arcs;
  const [x, y] = [arcs.width / 2, arcs.height / 2];
  context.beginPath();
  if (arcs.ring[i] === 0) context.arc(x, y, step, 0, 2 * Math.PI);
  else {
    context.arc(x, y, arcs.ring[i] * step, arcs.from[i], arcs.to[i]);
    context.arc(x, y, (arcs.ring[i] + 1) * step, arcs.to[i], arcs.from[i], true);
  }
  context.closePath();
}

/** Write a name along its arc, or from the middle outwards if there is more room. */
function label(context, arcs, i, paint) {
  const { step } = arcs;
  const middle = (arcs.ring[i] + 0.5) * step;
  const length = (arcs.to[i] - arcs.from[i]) * middle;
  const slack = Math.max(0, (step - LINE) / 2);
  // A straight line in a bent ring: so long that its ends stay inside.
  const along = Math.min(length, 2 * Math.sqrt(2 * middle * slack - slack * slack)) - GAP;
  const outwards = length > LINE ? step - GAP : 0;
  const most = Math.floor(Math.max(along, outwards) / LETTER);
  if (most < 1) return;
  const whole = paint.label(arcs.row[i]);
  const text = cut(whole, most);
  if (text !== whole && most < LEAST_LETTERS) return;
  const angle = (arcs.from[i] + arcs.to[i]) / 2;
  context.save();
  context.translate(arcs.width / 2, arcs.height / 2);
  context.rotate(angle);
  context.translate(middle, 0);
  if (along > outwards) context.rotate(angle < Math.PI ? -Math.PI / 2 : Math.PI / 2);
  else if (angle > Math.PI / 2 && angle < 1.5 * Math.PI) context.rotate(Math.PI);
  context.fillStyle = paint.textOn(arcs.row[i]);
  paint.write(text, 0, 4, Math.max(along, outwards));
  context.restore();
}

/** Return the place of the arc at a point, or -1. */
export function hitSun(arcs, x, y) {
  const [dx, dy] = [x - arcs.width / 2, y - arcs.height / 2];
  const ring = Math.floor(Math.hypot(dx, dy) / arcs.step);
  const angle = (Math.atan2(dy, dx) + 2 * Math.PI) % (2 * Math.PI);
  for (let i = 0; i < arcs.row.length; i++) {
    if (arcs.ring[i] === ring && (ring === 0 || (angle >= arcs.from[i] && angle < arcs.to[i]))) return i;
  }
  return -1;
}

/** Draw a frame around the selected row, see `frameMap`. */
export function frameSun(context, arcs, contains, colour) {
  let best = -1;
  for (let i = 0; i < arcs.row.length; i++) if (contains(arcs.row[i])) best = i;
  if (best < 0) return;
  trace(context, arcs, best);
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.stroke();
  context.lineWidth = 1;
}

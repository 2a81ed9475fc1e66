"use strict";(()=>{
function byId(id) {
return document.getElementById(id);
}
function element(tag, properties, ...children) {
const made = document.createElement(tag);
for (const [name, value] of Object.entries(properties || {})) {
if (name === "data") Object.assign(made.dataset, value);
else if (name === "aria") for (const [key, word] of Object.entries(value)) made.setAttribute(`aria-${key}`, word);
else if (name === "role") made.setAttribute("role", value);
else made[name] = value;
}
made.append(...children.filter((child) => child !== null));
return made;
}
function fillChoice(place, choices, chosen, choose) {
place.replaceChildren(...choices.map(([key, label]) => element("button", {
type: "button",
textContent: label,
data: { key },
aria: { pressed: String(key === chosen) },
onclick: () => choose(key),
})));
}
async function embeddedData(place) {
const text = place === null ? "" : place.textContent.trim();
if (!text) return null;
const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
return JSON.parse(await new Response(stream).text());
}
function fromBase64(text) {
if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
const raw = atob(text);
const bytes = new Uint8Array(raw.length);
for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
return bytes;
}
const UNPRINTED = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/gu;
function escaped(character) {
const code = character.codePointAt(0);
if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}
function printable(text) {
return text.replace(UNPRINTED, escaped);
}
function showText(place, text) {
place.replaceChildren();
let from = 0;
for (const match of text.matchAll(UNPRINTED)) {
if (match.index > from) place.append(text.slice(from, match.index));
place.append(element("span", { className: "escape", textContent: escaped(match[0]) }));
from = match.index + match[0].length;
}
place.append(text.slice(from));
return place;
}
const LETTER = 6.6;
function cut(text, most) {
let places = 0;
let at = 0;
let end = 0;
for (const character of text) {
places += character < "\u1100" ? 1 : 2;
if (places > most) return most < 2 ? "" : `${text.slice(0, end)}…`;
at += character.length;
if (places < most) end = at;
}
return text;
}
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
function humanBytes(bytes) {
let value = Math.abs(bytes);
let unit = 0;
while (value >= 999.5 && unit < UNITS.length - 1) {
value /= 1000;
unit++;
}
const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
return `${bytes < 0 ? "−" : ""}${value.toFixed(digits)} ${UNITS[unit]}`;
}
function grouped(number) {
return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}
function counted(number, noun, plural = `${noun}s`) {
return `${grouped(number)} ${number === 1 ? noun : plural}`;
}
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
function makeShape(columns) {
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
function weigh(shape, own, colours) {
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
function without(tree, rows) {
if (!rows.size) return tree;
const { shape, first } = tree;
const total = tree.total.slice();
const kids = tree.kids.slice();
const above = new Set();
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
function pathOf(shape, row) {
if (row === 0) return "/";
const parts = [];
for (let at = row; at > 0; at = shape.parent[at]) parts.push(shape.names[at]);
return `/${parts.reverse().join("/")}`;
}
function rowAt(tree, path) {
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
function isBelow(shape, row, top) {
let at = row;
while (at > top) at = shape.parent[at];
return at === top;
}
function search(shape, query) {
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
const GLYPHS = { added: "+", changed: "~", replaced: "~", removed: "−", grown: "▲", shrunk: "▼" };
const ACTIONS = ["added", "changed", "replaced", "removed"];
function readPaths(columns) {
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
function countEvents(paths, layers) {
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
function sizeView(paths) {
return layerView(paths, "size", "Visible", paths.columns.sizes, paths.columns.layers);
}
function hiddenView(paths) {
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
function compareView(comparison) {
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
const MOST = 40000;
const LEAST_AREA = 14;
const HEAD = 16;
function layoutMap(tree, top, width, height) {
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
function drawMap(context, out, paint) {
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
function hitMap(out, x, y) {
for (let i = out.count - 1; i >= 0; i--) {
if (x >= out.x[i] && x < out.x[i] + out.w[i] && y >= out.y[i] && y < out.y[i] + out.h[i]) return i;
}
return -1;
}
function frameMap(context, out, contains, colour) {
let best = -1;
for (let i = 0; i < out.count; i++) if (contains(out.row[i])) best = i;
if (best < 0) return;
context.strokeStyle = colour;
context.lineWidth = 3;
context.strokeRect(out.x[best] + 1.5, out.y[best] + 1.5, Math.max(1, out.w[best] - 3), Math.max(1, out.h[best] - 3));
context.lineWidth = 1;
}
const RINGS = 6;
const LEAST = 0.004;
const LINE = 14;
const GAP = 4;
const LEAST_LETTERS = 4;
function layoutSun(tree, top, width, height) {
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
arcs.step = arcs.radius / (arcs.ring[arcs.ring.length - 1] + 1);
return arcs;
}
function drawSun(context, arcs, paint) {
for (let i = 0; i < arcs.row.length; i++) {
trace(context, arcs, i);
context.fillStyle = i === 0 ? paint.folder : paint.colour(arcs.row[i]);
context.fill();
context.strokeStyle = paint.edge;
context.stroke();
}
context.textAlign = "center";
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
function label(context, arcs, i, paint) {
const { step } = arcs;
const middle = (arcs.ring[i] + 0.5) * step;
const length = (arcs.to[i] - arcs.from[i]) * middle;
const slack = Math.max(0, (step - LINE) / 2);
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
function hitSun(arcs, x, y) {
const [dx, dy] = [x - arcs.width / 2, y - arcs.height / 2];
const ring = Math.floor(Math.hypot(dx, dy) / arcs.step);
const angle = (Math.atan2(dy, dx) + 2 * Math.PI) % (2 * Math.PI);
for (let i = 0; i < arcs.row.length; i++) {
if (arcs.ring[i] === ring && (ring === 0 || (angle >= arcs.from[i] && angle < arcs.to[i]))) return i;
}
return -1;
}
function frameSun(context, arcs, contains, colour) {
let best = -1;
for (let i = 0; i < arcs.row.length; i++) if (contains(arcs.row[i])) best = i;
if (best < 0) return;
trace(context, arcs, best);
context.strokeStyle = colour;
context.lineWidth = 3;
context.stroke();
context.lineWidth = 1;
}
const SHAPES = {
map: [layoutMap, drawMap, hitMap, frameMap],
sun: [layoutSun, drawSun, hitSun, frameSun],
};
function makeMap(app) {
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
write: (...all) => context.fillText(...all),
};
}
function signOf(row) {
const sign = app.view.key === "compare" && GLYPHS[app.view.stateOf(row)];
return sign ? `${sign} ` : "";
}
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
const HEIGHT = 26;
const HIGHEST = 15000000;
function makeRows(app) {
const box = byId("tree");
const spacer = byId("spacer");
let rows = new Int32Array(0);
let place = new Int32Array(0);
let open = null;
let opened = null;
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
function makeKeys(app) {
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
const KEY = "orlop-theme";
function remembered() {
try {
return localStorage.getItem(KEY);
} catch {
return null;
}
}
function makeTheme(button, changed) {
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = remembered();
function apply() {
const theme = chosen || (dark.matches ? "dark" : "light");
document.documentElement.dataset.theme = theme;
button.textContent = theme === "dark" ? "Light" : "Dark";
changed();
}
function toggle() {
chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
try {
localStorage.setItem(KEY, chosen);
} catch {
}
apply();
}
dark.addEventListener("change", apply);
button.addEventListener("click", toggle);
apply();
return { toggle };
}
const MOST_LISTED = 1000;
function showFacts(document_) {
const { image, sums, layers, findings } = document_;
showText(byId("title"), image.name);
document.title = byId("title").textContent;
const severe = ["high", "medium", "low", "info"].map((one) => [findings.filter((found) => found.severity === one && !found.state).length, one]);
const facts = [
["Image ID", image.id.slice(0, 19)],
["Platform", image.platform],
["Created", image.created.replace("T", " ").replace(/\.\d+/, "")],
["Content", `${humanBytes(sums.size)} in ${counted(layers.length, "layer")}`],
["Hidden", humanBytes(sums.overwritten + sums.removed)],
["Unchanged", sums.unchanged ? `${humanBytes(sums.unchanged)} sent again` : ""],
["There twice", sums.twice ? humanBytes(sums.twice) : ""],
["Efficiency", `${(100 * sums.efficiency).toFixed(1)} %`],
["User", image.user || "root"],
["Command", image.command.join(" ")],
["Findings", severe.filter(([count]) => count).map(([count, one]) => `${count} ${one}`).join(", ") || "none"],
["Ports", image.ports.join(", ")],
["Volumes", image.volumes.join(", ")],
];
byId("facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) =>
element("div", null, element("dt", { textContent: name }), showText(element("dd", { data: { fact: name } }), value))));
}
function showLayers(app) {
const { layers } = app.document;
const counts = countEvents(app.paths, layers.length);
const most = Math.max(1, ...layers.map((one) => one.size));
byId("layers").replaceChildren(...layers.map((layer) => {
const { added, changed, removed } = counts[layer.number];
const bar = element("span", { className: `fill c${(layer.number - 1) % 8}` });
bar.style.display = "block";
bar.style.width = `${(100 * layer.size) / most}%`;
return element("li", null, element("button",
{
type: "button",
className: "layer",
data: { layer: String(layer.number), size: String(layer.size), hidden: String(layer.hidden) },
aria: { pressed: String(app.solo === layer.number) },
onclick: () => app.setSolo(layer.number),
},
element("span", { className: `chip c${(layer.number - 1) % 8}`, textContent: String(layer.number) }),
element("span", { textContent: humanBytes(layer.size) }),
element("span", { className: "faint", textContent: layer.hidden ? `${humanBytes(layer.hidden)} hidden` : "" }),
element("span", { className: "track" }, bar),
showText(element("span", { className: "step", title: layer.diffId }), shortStep(layer.step)),
element("span", { className: "told", textContent: `+${grouped(added)} ~${grouped(changed)} −${grouped(removed)} files` })));
}));
}
function shortStep(text) {
return text.replace(/^\/bin\/sh -c (#\(nop\) )?\s*/, (_, nop) => (nop ? "" : "RUN ")).slice(0, 400);
}
function pathButton(app, path) {
const button = element("button", { type: "button", className: "link", onclick: () => app.goTo(path) });
return showText(button, path);
}
function table(...rows) {
return element("table", null, ...rows.map(([name, value]) =>
element("tr", null, element("th", { scope: "row", textContent: name }), value instanceof Node ? element("td", null, value) : showText(element("td"), String(value)))));
}
function showPath(app) {
const { view, paths } = app;
const row = app.selected;
const path = pathOf(view.tree.shape, row);
if (view.key === "compare") {
const [before, after] = view.sidesOf(row);
return [table(["Path", path], ["Change", view.stateOf(row) || "below it"], ["In", view.factsOf(row).join(", ")],
["Before", `${grouped(before)} bytes`], ["After", `${grouped(after)} bytes`])];
}
if (paths.rest.has(row)) return [table(["Directory", pathOf(view.tree.shape, view.tree.shape.parent[row])], ["Sums up", counted(paths.rest.get(row)[0], "path")], ["Bytes", grouped(view.tree.total[row])])];
const [kind, mode, uid, gid] = paths.columns.attributes[paths.columns.kinds[row]];
const rows = [["Path", path], ["Type", kind], ["Mode", mode.toString(8).padStart(4, "0")], ["Owner", `${uid}:${gid}`],
[view.key === "hidden" ? "Hidden bytes" : "Bytes", grouped(view.tree.total[row])]];
if (paths.targets.has(row)) rows.push(["Target", paths.targets.get(row)[0]]);
if (paths.again.has(row)) rows.push(["Note", "another name of a file; its bytes count at the first"]);
if (paths.gone.has(row)) rows.push(["Note", "no container sees it; its bytes are still in the image"]);
const history = paths.eventsOf(row).map(({ layer, action, size }) => {
const step = app.document.layers[layer - 1];
return element("li", { data: { layer: String(layer), action } },
element("span", { className: `chip c${(layer - 1) % 8}`, textContent: String(layer) }),
` ${action}${action === "removed" || kind === "dir" ? "" : `, ${humanBytes(size)}`} `,
showText(element("code"), step ? shortStep(step.step) : ""));
});
if (!history.length) return [table(...rows)];
return [table(...rows), element("h3", { textContent: "What layers did" }), element("ol", { id: "events" }, ...history)];
}
function showFindings(app) {
const { findings } = app.document;
const shown = findings.slice(0, MOST_LISTED).map((one) => element("li", { data: { rule: one.rule, severity: one.severity, state: one.state } },
one.state ? `${one.state}, ` : "", element("strong", { className: one.severity, textContent: `${one.severity}: ${one.rule}` }), " ",
one.layer ? element("span", { className: `chip c${(one.layer - 1) % 8}`, textContent: String(one.layer) }) : "",
element("br"), one.path ? pathButton(app, one.path) : "", " ", showText(element("span"), one.text)));
if (findings.length > MOST_LISTED) shown.push(element("li", { textContent: `and ${grouped(findings.length - MOST_LISTED)} more` }));
return [findings.length ? element("ul", { id: "findings" }, ...shown) : element("p", { textContent: "Nothing was found." })];
}
function showSteps(app) {
return [element("ol", { id: "steps" }, ...app.document.steps.map((one) => element("li", { data: { layer: String(one.layer) } },
one.layer ? element("span", { className: `chip c${(one.layer - 1) % 8}`, textContent: String(one.layer) }) : element("span", { className: "faint", textContent: one.empty ? "no layer" : "" }),
" ", showText(element("code"), one.step || "(unknown)"), one.comment ? showText(element("p", { className: "faint" }), one.comment) : "")))];
}
function showHidden(app) {
const { paths } = app;
const order = [...paths.hidden].sort(([, [one]], [, [other]]) => other - one);
const rows = order.slice(0, 200).map(([row, [bytes]]) => element("tr", { data: { size: String(bytes) } },
element("td", null, pathButton(app, pathOf(paths.shape, row))),
element("td", { className: "number", textContent: humanBytes(bytes) }),
element("td", { textContent: paths.gone.has(row) ? "removed" : "overwritten" })));
return [element("p", { textContent: `${counted(order.length, "path")}, the largest ${rows.length} here. The mode "Hidden" of the map shows all.` }),
element("table", { id: "hidden" }, ...rows)];
}
function showChanges(app) {
const view = app.views.compare;
const { shape } = view.tree;
const found = [];
for (let row = 0; row < shape.count; row++) if (view.stateOf(row)) found.push(row);
const grown = (row) => view.sidesOf(row)[1] - view.sidesOf(row)[0];
found.sort((one, other) => Math.abs(grown(other)) - Math.abs(grown(one)) || one - other);
const counts = new Map();
for (const row of found) counts.set(view.stateOf(row), (counts.get(view.stateOf(row)) || 0) + 1);
const rows = found.slice(0, 300).map((row) => element("tr", { data: { row: String(row) } },
element("td", { textContent: view.stateOf(row) }), element("td", null, pathButton(app, pathOf(shape, row))),
element("td", { className: "number", textContent: humanBytes(grown(row)) })));
const { uncertain } = app.comparison;
return [
showText(element("p"), `${app.comparison.old} → ${app.comparison.new}`),
element("p", { textContent: [...counts].map(([state, count]) => `${grouped(count)} ${state}`).join(", ") || "no difference" }),
uncertain ? element("p", { className: "faint", textContent: `${counted(uncertain, "file")} of equal size were not compared by content.` }) : "",
element("table", { id: "changes" }, ...rows)];
}
const PANELS = [["path", "Path", showPath], ["findings", "Findings", showFindings], ["hidden", "Hidden", showHidden], ["steps", "History", showSteps], ["changes", "Changes", showChanges]];
function showPanel(app) {
const offered = PANELS.filter(([key]) => key !== "changes" || app.views.compare);
byId("tabs").replaceChildren(...offered.map(([key, label]) => element("button", {
type: "button", role: "tab", id: `tab-${key}`, textContent: label, data: { key }, tabIndex: key === app.panel ? 0 : -1,
aria: { selected: String(key === app.panel), controls: "panel" }, onclick: () => app.setPanel(key),
})));
const chosen = offered.find(([key]) => key === app.panel) || offered[0];
byId("panel").setAttribute("aria-labelledby", `tab-${chosen[0]}`);
byId("panel").replaceChildren(...chosen[2](app));
}
function tabKey(app, event) {
const keys = [...byId("tabs").children].map((one) => one.dataset.key);
const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
if (!step) return false;
app.setPanel(keys[(keys.indexOf(app.panel) + step + keys.length) % keys.length]);
byId(`tab-${app.panel}`).focus();
return true;
}
function placeOf(app, path) {
for (const view of [app.view, app.views.size, app.views.hidden, app.views.compare]) {
const row = view ? rowAt(view.tree, path) : -1;
if (row >= 0) return [view, row];
}
return null;
}
const WAIT = 60;
function makeApp() {
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
const COLUMNS = ["Image", "Size", "Unique", "Shared", "Layers", "Created", "", ""];
let token = "";
let turn = 0;
async function ask(path) {
const answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, credentials: "same-origin" });
if (answer.ok) return answer.json();
const error = new Error((await answer.json().catch(() => ({}))).message || answer.statusText);
error.status = answer.status;
throw error;
}
async function startLive(app) {
byId("images").hidden = false;
byId("main").hidden = true;
byId("search").hidden = true;
showText(byId("title"), "Images");
try {
const store = await ask("images");
showStore(app, store);
const wanted = new URLSearchParams(location.hash.slice(1)).get("image");
if (wanted) await open(app, store, wanted, "");
} catch (error) {
if (error.status !== 401) byId("images").replaceChildren(problem(error.message));
else askForToken(app);
}
}
function problem(text) {
return showText(element("p", { id: "problem", role: "alert" }), text);
}
function askForToken(app) {
const field = element("input", { type: "password", id: "token", autocomplete: "off" });
const form = element("form", { id: "login", onsubmit: (event) => {
event.preventDefault();
token = field.value.trim();
startLive(app);
} }, element("label", { htmlFor: "token", textContent: "Token of this server " }), field, " ", element("button", { textContent: "Show" }), problem(token && "not the token"));
byId("images").replaceChildren(form);
field.focus();
}
function titleOf(image) {
return image.names[0] || image.id.slice(7, 19);
}
function showStore(app, store) {
const { disk, layers, images } = store;
const users = new Map();
for (const image of images) for (const layer of new Set(image.layers)) users.set(layer, (users.get(layer) || 0) + 1);
const summary = element("p", { id: "disk", textContent: `${counted(images.length, "image")}; layers ${humanBytes(layers.size)}, of which ${humanBytes(layers.shared)} shared by several images; on disk ${humanBytes(disk.size)}, of which ${humanBytes(disk.garbage)} garbage` });
const filter = element("input", { type: "search", id: "filter", placeholder: "Name or digest of an image or layer" });
filter.setAttribute("aria-label", "Find images by a name or a digest");
const head = element("tr", { role: "row", className: "head" }, ...COLUMNS.map((textContent, at) =>
element("th", { scope: "col", role: "columnheader", className: at > 0 && at < 5 ? "number" : "", textContent })));
const rows = images.map((image) => element("tr", { role: "row", data: { id: image.id, size: String(image.size), unique: String(image.unique), shared: String(image.shared) } },
element("td", { role: "cell" }, ...(image.names.length ? image.names : [image.id.slice(7, 19)]).map((name) =>
showText(element("button", { type: "button", className: "link open", onclick: () => open(app, store, image.id, "") }), name))),
...[image.size, image.unique, image.shared].map((bytes, i) => cell(COLUMNS[i + 1], humanBytes(bytes), "number")),
cell("Layers", `${image.layers.length} (${image.layers.filter((layer) => users.get(layer) > 1).length} shared)`, "number"),
cell("Created", image.created.slice(0, 10)),
cell("", image.pinned ? "pinned" : ""),
element("td", { role: "cell" }, element("button", { type: "button", className: "link compare", textContent: "compare with this", data: { id: image.id }, onclick: () => open(app, store, app.shownId, image.id) }))));
filter.addEventListener("input", () => {
const wanted = filter.value.trim().toLowerCase();
images.forEach((image, i) => {
rows[i].hidden = ![image.id, ...image.names, ...image.layers].some((text) => text.toLowerCase().includes(wanted));
});
});
byId("images").replaceChildren(summary, filter, problem(""), element("table", { id: "store", role: "table" }, head, ...rows));
offerComparisons(app);
}
function cell(column, textContent, className = "") {
return element("td", { role: "cell", className, textContent, data: { column } });
}
function offerComparisons(app) {
for (const one of byId("store").querySelectorAll(".compare")) one.disabled = !app.shownId || one.dataset.id === app.shownId;
}
async function open(app, store, id, old) {
const mine = ++turn;
byId("status").textContent = "…";
const query = new URLSearchParams({ name: id, ...(old ? { old } : {}) });
const data = await ask(`image?${query}`).catch((error) => ({ error }));
if (mine !== turn) return;
showText(byId("problem"), data.error?.message || "");
byId("status").textContent = "";
if (data.error) return;
const image = store.images.find((one) => one.id === id);
if (image) data.image.image.name = titleOf(image);
if (app.shownId !== id || !location.hash.includes(id)) history.pushState(null, "", `#image=${id}`);
app.shownId = id;
offerComparisons(app);
byId("main").hidden = false;
byId("search").hidden = false;
app.show(data.image, data.comparison);
}
async function start() {
const app = makeApp();
try {
const data = await embeddedData(byId("data"));
if (data) app.show(data.image, data.comparison);
else await startLive(app);
document.documentElement.dataset.ready = "yes";
performance.mark("orlop-ready");
} catch (error) {
byId("status").textContent = `This page cannot be shown: ${error.message}`;
throw error;
}
}
start();
})();

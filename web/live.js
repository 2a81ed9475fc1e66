// The images of a store, as a server that shows them sends them. A token is kept in memory only.

import { byId, element } from "./dom.js";
import { counted, humanBytes, showText } from "./text.js";

const COLUMNS = ["Image", "Size", "Unique", "Shared", "Layers", "Created", "", ""];

let token = "";
// Of the images that were asked for, only the last one is shown.
let turn = 0;

async function ask(path) {
  const answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, credentials: "same-origin" });
  if (answer.ok) return answer.json();
  const error = new Error((await answer.json().catch(() => ({}))).message || answer.statusText);
  error.status = answer.status;
  throw error;
}

/** Show the images of a store, and the one that the address names. */
export async function startLive(app) {
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

/** Return a line that says what is amiss, or nothing. */
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

/** Return a cell that says what it is where columns have no heads. */
function cell(column, textContent, className = "") {
  return element("td", { role: "cell", className, textContent, data: { column } });
}

/** Let the image that is shown be compared with all others. */
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

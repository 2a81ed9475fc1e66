// The images of a store, as a server that shows them sends them. A token is kept in memory only.

import { byId, element } from "./dom.js";
import { counted, humanBytes, showText } from "./text.js";

let token = "";

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
  showText(byId("title"), "Images");
  try {
    const store = await ask("images");
    showStore(app, store);
    const wanted = new URLSearchParams(location.hash.slice(1)).get("image");
    if (wanted) await open(app, store, wanted, "");
  } catch (error) {
    if (error.status !== 401) throw error;
    askForToken(app);
  }
}

function askForToken(app) {
  const field = element("input", { type: "password", id: "token", autocomplete: "off" });
  const form = element("form", { id: "login", onsubmit: (event) => {
    event.preventDefault();
    token = field.value.trim();
    startLive(app);
  } }, element("label", { htmlFor: "token", textContent: "Token of this server " }), field, " ", element("button", { textContent: "Show" }));
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
  const head = element("tr", null, ...["Image", "Size", "Unique", "Shared", "Layers", "Created", "", ""].map((textContent) => element("th", { scope: "col", textContent })));
  const rows = images.map((image) => element("tr", { data: { id: image.id, size: String(image.size), unique: String(image.unique), shared: String(image.shared) } },
    element("td", null, ...(image.names.length ? image.names : [image.id.slice(7, 19)]).map((name) =>
      showText(element("button", { type: "button", className: "link open", onclick: () => open(app, store, image.id, "") }), name))),
    ...[image.size, image.unique, image.shared].map((bytes) => element("td", { className: "number", textContent: humanBytes(bytes) })),
    element("td", { className: "number", textContent: `${image.layers.length} (${image.layers.filter((layer) => users.get(layer) > 1).length} shared)` }),
    element("td", { textContent: image.created.slice(0, 10) }),
    element("td", { textContent: image.pinned ? "pinned" : "" }),
    element("td", null, element("button", { type: "button", className: "link compare", textContent: "compare with this", onclick: () => app.shownId && open(app, store, app.shownId, image.id) }))));
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    images.forEach((image, i) => {
      rows[i].hidden = ![image.id, ...image.names, ...image.layers].some((text) => text.toLowerCase().includes(wanted));
    });
  });
  byId("images").replaceChildren(summary, filter, element("table", { id: "store" }, head, ...rows));
}

async function open(app, store, id, old) {
  byId("status").textContent = "…";
  const query = new URLSearchParams({ name: id, ...(old ? { old } : {}) });
  const data = await ask(`image?${query}`);
  const image = store.images.find((one) => one.id === id);
  if (image) data.image.image.name = titleOf(image);
  if (app.shownId !== id || !location.hash.includes(id)) history.pushState(null, "", `#image=${id}`);
  app.shownId = id;
  byId("main").hidden = false;
  app.show(data.image, data.comparison);
}

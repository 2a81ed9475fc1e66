// What stands beside the map and the tree: facts, layers, a path's history, findings, the steps of the build, changes.

import { byId, element } from "./dom.js";
import { counted, grouped, humanBytes, showText } from "./text.js";
import { pathOf, rowAt } from "./tree.js";
import { countEvents } from "./views.js";

const MOST_LISTED = 1000;

/** Show the facts at the top. */
export function showFacts(document_) {
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

/** Show the layers; a click on one dims all others. */
export function showLayers(app) {
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

/** Show the tabs and what the chosen one has. */
export function showPanel(app) {
  const offered = PANELS.filter(([key]) => key !== "changes" || app.views.compare);
  byId("tabs").replaceChildren(...offered.map(([key, label]) => element("button", {
    type: "button", role: "tab", id: `tab-${key}`, textContent: label, data: { key }, tabIndex: key === app.panel ? 0 : -1,
    aria: { selected: String(key === app.panel), controls: "panel" }, onclick: () => app.setPanel(key),
  })));
  const chosen = offered.find(([key]) => key === app.panel) || offered[0];
  byId("panel").setAttribute("aria-labelledby", `tab-${chosen[0]}`);
  byId("panel").replaceChildren(...chosen[2](app));
}

/** Move between tabs with the arrows. */
export function tabKey(app, event) {
  const keys = [...byId("tabs").children].map((one) => one.dataset.key);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return false;
  app.setPanel(keys[(keys.indexOf(app.panel) + step + keys.length) % keys.length]);
  byId(`tab-${app.panel}`).focus();
  return true;
}

/** Return the view and the row of a path: of what is compared if it is there only. */
export function placeOf(app, path) {
  for (const view of [app.view, app.views.size, app.views.hidden, app.views.compare]) {
    const row = view ? rowAt(view.tree, path) : -1;
    if (row >= 0) return [view, row];
  }
  return null;
}

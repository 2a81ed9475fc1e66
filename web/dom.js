// Elements. Text of an image goes in as text nodes only, never as markup.

/** Return the element of the page that has an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Return a new element; properties are set on it, `data` becomes its data attributes, `aria` its ARIA attributes. */
export function element(tag, properties, ...children) {
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

/** Return a group of buttons of which one is pressed; `choose` gets the key of the one that is clicked. */
export function fillChoice(place, choices, chosen, choose) {
  place.replaceChildren(...choices.map(([key, label]) => element("button", {
    type: "button",
    textContent: label,
    data: { key },
    aria: { pressed: String(key === chosen) },
    onclick: () => choose(key),
  })));
}

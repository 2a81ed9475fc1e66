// How names and numbers are shown. What would not print, looks like a space, or turns the text around it, is an escape.

import { element } from "./dom.js";

const UNPRINTED = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/gu;

function escaped(character) {
  const code = character.codePointAt(0);
  // Bytes that are not UTF-8 come as the lone surrogates that Python makes of them.
  if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** Return a text that prints as it stands. */
export function printable(text) {
  return text.replace(UNPRINTED, escaped);
}

/** Put a text into an element, its escapes marked. */
export function showText(place, text) {
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

/** About how wide a letter on the map is. */
export const LETTER = 6.6;

/** Return as much of a text as has room in so many places, of which a wide character takes two; none is cut apart. */
export function cut(text, most) {
  let places = 0;
  let at = 0;
  // Of what leaves room for an ellipsis.
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

/** Return bytes for people. */
export function humanBytes(bytes) {
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${bytes < 0 ? "−" : ""}${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Return a number with its thousands apart. */
export function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Return a count with its noun. */
export function counted(number, noun, plural = `${noun}s`) {
  return `${grouped(number)} ${number === 1 ? noun : plural}`;
}

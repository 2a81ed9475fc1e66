// The data of a page: base64 of a zlib stream of JSON, in an element that browsers do not run.

/** Return the data of a page in a file, or null in a page that a server sends. */
export async function embeddedData(place) {
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

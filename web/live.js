// The images of a store, as a server that shows them sends them.

/** Show the images, and those that are chosen. */
export async function startLive(app) {
  throw new Error("it has no data");
}

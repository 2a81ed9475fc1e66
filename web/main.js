// Where the page begins: with the data in it, or, where a server sends it, with the images of a store.

import { byId } from "./dom.js";
import { embeddedData } from "./data.js";
import { makeApp } from "./app.js";
import { startLive } from "./live.js";

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

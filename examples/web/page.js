// The page: loads a model, then classifies each image that is chosen, dropped or pasted.

import { Classifier } from "./classifier.js";
import { decode, resizedCenter } from "./pixels.js";

const element = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);

/** The URL of the model that is loaded first. */
const MODEL = parameters.get("model") ?? "model.onnx";

let classifier;

/** Number of the latest action; results of earlier actions are discarded. */
let latest = 0;

/**
 * Runs an action of the user and passes its result to `show`. On an error, calls `fail` and shows the message. If
 * a newer action has started meanwhile, passes the result to `drop` instead.
 */
async function perform(work, { show, fail = () => {}, drop = () => {} }) {
  const turn = ++latest;
  element("error").hidden = true;
  document.body.ariaBusy = "true";
  try {
    const result = await work();
    if (turn === latest) {
      element("error").hidden = true;
      show(result);
    } else {
      drop(result);
    }
  } catch (error) {
    if (turn === latest) {
      fail();
      showError(error);
    }
  } finally {
    if (turn === latest) document.body.ariaBusy = "false";
  }
}

function showError(error) {
  element("error").textContent = error.message ?? String(error);
  element("error").hidden = false;
}

/** Loads a model, replacing the current one. */
function openModel(name, read) {
  // Fails while the model is running; that result is discarded anyway.
  classifier?.release().catch(() => {});
  classifier = undefined;
  element("image").disabled = true;
  element("model").textContent = `Loading ${name} …`;
  clear();
  return perform(async () => Classifier.load(await runtime(), await read()), {
    show: (loaded) => {
      classifier = loaded;
      showModel(name);
    },
    fail: () => {
      element("model").textContent = `${name} is not loaded.`;
    },
    drop: (loaded) => loaded.release(),
  });
}

async function runtime() {
  try {
    return await import("onnxruntime-web");
  } catch {
    throw new Error(
      "onnxruntime-web is not at the path in index.html: run npm install onnxruntime-web in the page's folder.",
    );
  }
}

async function download(address) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new Error(`Cannot fetch ${address}: the page must be opened from a web server.`);
  }
  if (!response.ok) {
    throw new Error(
      `Cannot load a model from ${address} (status ${response.status}): ` +
        "put one there, set ?model=… in the URL, or choose a file below.",
    );
  }
  return response.bytes?.() ?? new Uint8Array(await response.arrayBuffer());
}

function showModel(name) {
  const { card, imageSize } = classifier;
  const { height, width } = imageSize;
  element("model").textContent =
    `${name}: ${card.architecture}, ${card.dataset ? `trained on ${card.dataset}, ` : ""}` +
    `${card.classNames.length} classes, ${size(width, height)} pixels`;
  const [summary, names] = element("names").children;
  const [some, all] = [card.classNames.slice(0, 4).join(", "), card.classNames.join(", ")];
  summary.textContent = `The ${card.classNames.length} classes: ${some}${some === all ? "" : ", …"}`;
  names.textContent = all;
  element("names").hidden = false;
  element("image").disabled = false;
}

/** A size without line breaks. */
function size(width, height) {
  return `${width}\u00a0×\u00a0${height}`;
}

function clear() {
  for (const id of ["preview", "seen", "names"]) element(id).hidden = true;
  element("invitation").hidden = false;
  showClasses([]);
}

function showClasses(classes) {
  const items = classes.map(({ name, probability }) => {
    const item = document.createElement("li");
    const label = document.createElement("span");
    label.textContent = name;
    const value = document.createElement("data");
    value.value = probability;
    value.textContent = `${(100 * probability).toFixed(1)} %`;
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.setProperty("--share", probability);
    item.append(label, value, bar);
    return item;
  });
  element("classes").replaceChildren(...items);
  element("time").textContent = "";
}

/** How images are resized before the crop: as in the URL, or the model, or just to cover the crop. */
function resizeFor({ card, imageSize: { height, width } }) {
  const text = parameters.get("resize");
  const least = Math.max(height, width);
  const filter = card.resize?.filter ?? "bilinear";
  if (text === null) return { side: Math.max(card.resize?.side ?? least, least), filter };
  const side = Number(text);
  if (!Number.isInteger(side) || side < least || side > 4096) {
    throw new Error(`resize=${text} in the URL should be a number of pixels from ${least} to 4096.`);
  }
  return { side, filter };
}

function classify(file) {
  const used = classifier;
  if (!used) {
    showError(new Error("No model is loaded yet."));
    return;
  }
  showClasses([]);
  element("seen").hidden = true;
  showPreview(file);
  const work = async () => {
    const image = await decode(file);
    try {
      const { imageSize } = used;
      const start = performance.now();
      const pixels = resizedCenter(image, imageSize, resizeFor(used));
      const prepared = performance.now();
      const classes = await used.classify(pixels);
      const times = [prepared - start, performance.now() - prepared];
      return { pixels, classes, times, from: size(image.width, image.height) };
    } finally {
      image.close();
    }
  };
  return perform(work, {
    show: ({ pixels, classes, times, from }) => {
      showClasses(classes);
      showCrop(pixels, used.imageSize, from);
      const [resize, run] = times.map((time) => time.toFixed(time < 10 ? 1 : 0));
      element("time").textContent = `${run} ms for the model, ${resize} ms to resize the image`;
    },
  });
}

function showPreview(file) {
  const preview = element("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  const show = (isImage) => {
    preview.hidden = !isImage;
    element("invitation").hidden = isImage;
  };
  preview.onload = () => show(true);
  preview.onerror = () => show(false);
}

/** Shows the crop that the model received. */
function showCrop(pixels, { height, width }, from) {
  const canvas = element("crop");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const shown = context.createImageData(width, height);
  for (let i = 0, j = 0; i < shown.data.length; i += 4) {
    shown.data[i] = pixels[j++];
    shown.data[i + 1] = pixels[j++];
    shown.data[i + 2] = pixels[j++];
    shown.data[i + 3] = 255;
  }
  context.putImageData(shown, 0, 0);
  element("seen").lastElementChild.textContent =
    `Input of the model: ${size(width, height)} pixels, from ${from}`;
  element("seen").hidden = false;
}

function openFile(file) {
  openModel(file.name, async () => new Uint8Array(await file.arrayBuffer()));
}

/** Opens a dropped or pasted file: a model or an image. */
function open(file) {
  if (file?.name.endsWith(".onnx")) openFile(file);
  else if (file) classify(file);
}

for (const [id, use] of [["image", classify], ["file", openFile]]) {
  element(id).addEventListener("change", ({ target }) => {
    const [file] = target.files;
    // Otherwise the same file could not be chosen again.
    target.value = "";
    if (file) use(file);
  });
}
addEventListener("paste", ({ clipboardData }) => open(clipboardData.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", () => document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  open(event.dataTransfer.files[0]);
});

openModel(MODEL, () => download(MODEL));

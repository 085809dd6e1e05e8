// An image classifier that `topk-export model` wrote, run by onnxruntime-web.

import { readMetadata } from "./metadata.js";
import { FILTERS } from "./pixels.js";

/** Input types: pixels as bytes with channels last, or numbers with channels first. */
const BYTES = "uint8";
const FLOATS = "float32";

/** Number of classes shown if the model does not record its k. */
const DEFAULT_K = 5;

export class Classifier {
  #ort;
  #session;
  #bytes;

  /**
   * Loads a model.
   * @param {object} ort the module onnxruntime-web
   * @param {Uint8Array} file the ONNX file
   * @returns {Promise<Classifier>}
   * @throws {Error} if the file cannot be used
   */
  static async load(ort, file) {
    let metadata;
    try {
      metadata = readMetadata(file);
    } catch (error) {
      throw new Error(`This is not an ONNX file: ${error.message}.`);
    }
    const card = readCard(metadata);
    let session;
    try {
      session = await ort.InferenceSession.create(file);
    } catch (error) {
      throw new Error(`onnxruntime-web cannot load the model: ${error.message ?? error}`);
    }
    try {
      return new Classifier(ort, session, card);
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** Use {@link Classifier.load}. */
  constructor(ort, session, card) {
    this.#ort = ort;
    this.#session = session;
    const { type, shape } = signature(session);
    this.#bytes = type === BYTES;
    /** The model's description of itself. */
    this.card = card;
    const [, height, width] = card.inputSize;
    const expected = this.#bytes ? [height, width, 3] : [3, height, width];
    if (expected.some((side, i) => shape[i + 1] !== side)) {
      throw new Error(
        `The model's input has the shape ${shape.join(" × ")}, ` +
          `but its metadata says ${card.inputSize.join(" × ")}.`,
      );
    }
    const scores = session.outputMetadata[0].shape?.at(-1);
    const isRanked = session.outputNames.includes("probabilities");
    if (!isRanked && typeof scores === "number" && scores !== card.classNames.length) {
      throw new Error(`The model has ${scores} scores, but ${card.classNames.length} class names.`);
    }
    /** Height and width of its input images. */
    this.imageSize = { height, width };
  }

  /**
   * The most probable classes of an image, in descending order.
   * @param {Uint8ClampedArray} pixels red, green and blue of each pixel, row by row
   * @returns {Promise<{name: string, probability: number}[]>}
   */
  async classify(pixels) {
    const { height, width } = this.imageSize;
    const tensor = this.#bytes
      ? new this.#ort.Tensor(BYTES, new Uint8Array(pixels), [1, height, width, 3])
      : new this.#ort.Tensor(FLOATS, this.#normalized(pixels), [1, 3, height, width]);
    const outputs = await this.#session.run({ [this.#session.inputNames[0]]: tensor });
    const ranked =
      "probabilities" in outputs
        ? [...outputs.probabilities.data].map((probability, i) => [Number(outputs.classes.data[i]), probability])
        : best(outputs[this.#session.outputNames[0]].data, this.card.k);
    const { classNames } = this.card;
    return ranked.map(([index, probability]) => {
      if (!(index in classNames)) {
        throw new Error(`The model returned class ${index}, but has ${classNames.length} class names.`);
      }
      return { name: classNames[index], probability };
    });
  }

  /** Frees the model's memory. */
  async release() {
    await this.#session.release();
  }

  /** (pixel / 255 − mean) / std, with channels first. */
  #normalized(pixels) {
    const { mean, std } = this.card;
    const plane = pixels.length / 3;
    const { fround } = Math;
    return Float32Array.from(pixels, (_, i) => {
      const channel = Math.floor(i / plane);
      const fraction = fround(pixels[(i % plane) * 3 + channel] / 255);
      return fround(fraction - fround(mean[channel])) / fround(std[channel]);
    });
  }
}

/** Type and shape of a classifier's input. */
function signature(session) {
  if (session.inputNames.length !== 1) {
    throw new Error(
      `The model has the inputs ${session.inputNames.join(", ")}, but this page only has images: ` +
        "write it with --outputs topk or --outputs logits.",
    );
  }
  const { type, shape = [] } = session.inputMetadata[0];
  if (![BYTES, FLOATS].includes(type) || shape.length !== 4) {
    throw new Error(`The model's input is not a batch of images but ${type} [${shape.join(", ")}].`);
  }
  return { type, shape };
}

/** Indices and probabilities of the k highest scores. */
function best(scores, k) {
  const highest = scores.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(scores, (score) => Math.exp(score - highest));
  const total = powers.reduce((a, b) => a + b);
  return powers
    .map((power, index) => [index, power / total])
    .sort(([, a], [, b]) => b - a)
    .slice(0, k);
}

/** The required part of a model's metadata, validated. */
function readCard(metadata) {
  if (![...metadata.keys()].some((key) => key.startsWith("topk."))) {
    throw new Error("The model has no metadata with class names: write it with topk-export model.");
  }
  const read = (key, expected, isGood, absent) => {
    const text = metadata.get(key);
    if (text === undefined) {
      if (absent !== undefined) return absent;
      throw new Error(`The model's metadata has no ${key}.`);
    }
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      // Reported below.
    }
    if (value === undefined || !isGood(value)) {
      const found = text.length > 80 ? `${text.slice(0, 80)}…` : text;
      throw new Error(`The model's metadata ${key} should be ${expected}, but is: ${found}`);
    }
    return value;
  };
  const three = (isGood) => (value) => Array.isArray(value) && value.length === 3 && value.every(isGood);
  const isSize = (value) => Number.isInteger(value) && value >= 1 && value <= 4096;
  const isNames = (value) =>
    Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === "string");
  // `cover`, of inputs that are not square, is not implemented here.
  const isResize = (value) =>
    isSize(value?.shorter_side) && value.cover === undefined && Object.hasOwn(FILTERS, value.interpolation);
  const names = Object.keys(FILTERS).join(", ");
  const resize = read("topk.resize", `a shorter side and one of ${names}`, isResize, null);
  return {
    architecture: metadata.get("topk.architecture") ?? "network",
    /** The data set it was trained on, if known. */
    dataset: metadata.get("topk.dataset"),
    /** How images are resized before the crop; null if they already have the input size. */
    resize: resize && { side: resize.shorter_side, filter: resize.interpolation },
    classNames: read("topk.class_names", "a list of names", isNames),
    inputSize: read(
      "topk.input_size",
      "[3, height, width] of at most 4096",
      (value) => three(isSize)(value) && value[0] === 3,
    ),
    mean: read("topk.mean", "three numbers", three(Number.isFinite)),
    std: read("topk.std", "three numbers above 0", three((value) => Number.isFinite(value) && value > 0)),
    k: read("topk.k", "a number from 1", (value) => Number.isInteger(value) && value >= 1, DEFAULT_K),
  };
}

// From an image file to the pixels that a network was trained on: resizes the shorter side and crops the centre,
// like torchvision with Pillow 13 (`Resize` with antialiasing, and `CenterCrop`).

/** Maximum number of pixels, of 4 bytes each. */
const MAX_PIXELS = 1e8;

/** Maximum side of an image that browsers can draw. */
const MAX_SIDE = 16384;

/**
 * Decodes an image: rotated according to its EXIF data, without colour conversion, white where it is transparent.
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>} to be closed by the caller
 */
export async function decode(file) {
  let image;
  try {
    image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    const name = file.name ?? "this";
    throw new Error(`${name} is not an image that this browser can read`);
  }
  const { width, height } = image;
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    image.close();
    throw new Error(
      `The image is too large: ${width} × ${height} pixels. ` +
        `The limits are ${MAX_SIDE} per side and ${MAX_PIXELS / 1e6} million in total.`,
    );
  }
  return image;
}

/** Filters under Pillow's names: their support, and the weight of a pixel at a distance. */
export const FILTERS = {
  /** No filter: the pixel under the centre. */
  nearest: {},
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: (x) => hamming(Math.abs(x)) },
  bicubic: { support: 2, weight: (x) => cubic(Math.abs(x)) },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** A Hamming window; Pillow's constants have single precision. */
function hamming(x) {
  if (x >= 1) return 0;
  return sinc(x) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(x * Math.PI));
}

/** Keys' cubic with a slope of −1/2 at 1. */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/**
 * The resized centre of an image.
 * @param {ImageBitmap} image
 * @param {{height: number, width: number}} crop
 * @param {{side: number, filter: string}} resize length of the shorter side before the crop, at least the
 *   longer side of the crop; name of a filter
 * @returns {Uint8ClampedArray} red, green and blue of each pixel, row by row
 */
export function resizedCenter(image, crop, resize) {
  const full = resizedSize(image, resize.side);
  const filter = FILTERS[resize.filter];
  const columns = filterWeights(filter, image.width, full.width, centered(full.width, crop.width), crop.width);
  const rows = filterWeights(filter, image.height, full.height, centered(full.height, crop.height), crop.height);
  // Only the pixels that the crop depends on are drawn and computed.
  const source = { x: columns.first, y: rows.first, width: columns.extent, height: rows.extent };
  const plane = { ...source, pixels: rgb(image, source) };
  const shrinks = [image.width - full.width, image.height - full.height];
  const rowsFirst = shrinks[1] > 0 && shrinks[1] > 2 * shrinks[0];
  const passes = rowsFirst ? [alongColumns, alongRows] : [alongRows, alongColumns];
  return passes.reduce((plane, pass) => pass(plane, pass === alongRows ? columns : rows), plane).pixels;
}

/** The size of the image after resizing its shorter side to `resize`; the longer side is rounded down. */
function resizedSize({ width, height }, resize) {
  return width <= height
    ? { width: resize, height: Math.trunc((resize * height) / width) }
    : { width: Math.trunc((resize * width) / height), height: resize };
}

/** Start of a centred crop; halves are rounded to the nearest even integer. */
function centered(side, crop) {
  const half = (side - crop) / 2;
  return Number.isInteger(half) ? half : 2 * Math.round(half / 2);
}

/** Weights are fixed-point numbers with this many fractional bits, as in Pillow. */
const BITS = 22;

/**
 * The source pixels and weights of each of `count` resized pixels from `start` on.
 *
 * `first` and `extent` are the range of all source pixels needed; `from[i]` counts from `first`.
 */
function filterWeights(filter, side, resized, start, count) {
  const scale = side / resized;
  if (filter === FILTERS.nearest) return nearest(scale, start, count);
  // Filters leave an image of the right size unchanged.
  const { support, weight } = scale === 1 ? FILTERS.bilinear : filter;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  const from = [];
  const weights = [];
  for (let i = start; i < start + count; i++) {
    const center = (i + 0.5) * scale;
    const low = Math.max(Math.trunc(center - reach + 0.5), 0);
    const high = Math.min(Math.trunc(center + reach + 0.5), side);
    const row = Array.from({ length: high - low }, (_, j) =>
      weight((j + low - center + 0.5) * (1 / stretch)),
    );
    const sum = row.reduce((sum, weight) => sum + weight, 0);
    from.push(low);
    weights.push(Int32Array.from(row, (weight) => (weight / sum) * 2 ** BITS + (weight < 0 ? -0.5 : 0.5)));
  }
  const first = from[0];
  const extent = from[count - 1] + weights[count - 1].length - first;
  return { first, extent, from: from.map((low) => low - first), weights };
}

/** The same without a filter: the source pixel under the centre of each resized pixel. */
function nearest(scale, start, count) {
  const from = [];
  // Adds up steps like Pillow, which may round differently than a product would.
  for (let i = 0, center = scale / 2; i < start + count; i++, center += scale) {
    if (i >= start) from.push(Math.trunc(center));
  }
  const first = from[0];
  const whole = Int32Array.of(2 ** BITS);
  return {
    first,
    extent: from[count - 1] + 1 - first,
    from: from.map((at) => at - first),
    weights: from.map(() => whole),
  };
}

/** Red, green and blue of a rectangle of the image. */
function rgb(image, { x, y, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, x, y, width, height, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8ClampedArray(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 4) {
    pixels[j++] = data[i];
    pixels[j++] = data[i + 1];
    pixels[j++] = data[i + 2];
  }
  return pixels;
}

/** Resizes each row. */
function alongRows({ pixels, width, height }, { from, weights }) {
  const resized = new Uint8ClampedArray(weights.length * height * 3);
  let index = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < weights.length; x++) {
      index = sum(pixels, (y * width + from[x]) * 3, 3, weights[x], resized, index);
    }
  }
  return { pixels: resized, width: weights.length, height };
}

/** Resizes each column. */
function alongColumns({ pixels, width }, { from, weights }) {
  const resized = new Uint8ClampedArray(width * weights.length * 3);
  let index = 0;
  for (let y = 0; y < weights.length; y++) {
    for (let x = 0; x < width; x++) {
      index = sum(pixels, (from[y] * width + x) * 3, width * 3, weights[y], resized, index);
    }
  }
  return { pixels: resized, width, height: weights.length };
}

/** The weighted sum of the pixels at `start`, `start + step`, …, rounded; returns the next index. */
function sum(pixels, start, step, weights, resized, index) {
  let red = 1 << (BITS - 1);
  let green = red;
  let blue = red;
  for (let i = 0, at = start; i < weights.length; i++, at += step) {
    red += pixels[at] * weights[i];
    green += pixels[at + 1] * weights[i];
    blue += pixels[at + 2] * weights[i];
  }
  resized[index++] = red >> BITS;
  resized[index++] = green >> BITS;
  resized[index++] = blue >> BITS;
  return index;
}

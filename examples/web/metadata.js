// Reads the metadata of an ONNX file, which onnxruntime-web does not expose.

/** Field number of `ModelProto.metadata_props`. */
const METADATA = 14;

/** Wire types of protobuf. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/**
 * The metadata of a model. The rest of the file, mostly weights, is skipped without copying it.
 * @param {Uint8Array} file
 * @returns {Map<string, string>}
 * @throws {Error} if the file is not a protobuf message
 */
export function readMetadata(file) {
  const text = new TextDecoder("utf-8", { fatal: true });
  const metadata = new Map();
  for (const [number, bytes] of fields(file)) {
    if (number === METADATA && bytes) {
      const entry = new Map(fields(bytes));
      const [key, value] = [1, 2].map((part) => text.decode(entry.get(part) ?? new Uint8Array()));
      metadata.set(key, value);
    }
  }
  return metadata;
}

/** Number and bytes of each field of a message; the bytes are undefined for varints. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 63; factor *= 128) {
      if (at >= message.length) throw new Error("it ends in the middle of a number");
      const byte = message[at++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
    throw new Error("a number has too many bytes");
  };
  while (at < message.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    const type = key % 8;
    if (type === VARINT) {
      varint();
      yield [number, undefined];
      continue;
    }
    const lengths = { [FIXED64]: () => 8, [BYTES]: varint, [FIXED32]: () => 4 };
    if (number === 0 || !(type in lengths)) throw new Error("a field has no valid number and type");
    const length = lengths[type]();
    if (length > message.length - at) throw new Error("it ends in the middle of a field");
    yield [number, type === BYTES ? message.subarray(at, at + length) : undefined];
    at += length;
  }
}

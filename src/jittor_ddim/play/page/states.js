// The states of one run, as they came: pictures of x_t and of the predicted x0.

/** A picture in base64 as a file. */
export function png(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

/** A picture in base64 as something to draw. */
export const decode = async (base64) => createImageBitmap(png(base64));

/** The numbers of a state in float32. */
export function floats(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
}

export class States {
  constructor(start, size) {
    this.start = start;
    this.size = size; // of one image, in pixels
    this.list = [];
  }

  get columns() { // of the pictures that the server sends
    return Math.ceil(Math.sqrt(this.start.images));
  }

  /** Add the state of an event, if it has pictures. */
  async add({ x_t, x0, raw, ...event }) {
    if (!x_t) return;
    const state = { ...event, x_t: await decode(x_t), x0: x0 ? await decode(x0) : null };
    if (raw) state.raw = floats(raw);
    this.list.push(state);
  }

  /** The picture of a state, or the nearest one that has it: the first has no predicted x0. */
  picture(index, view) {
    const state = this.list[index];
    return (view === "x0" ? (state.x0 ?? this.list[index + 1]?.x0) : null) ?? state.x_t;
  }

  /** Draw image i of a picture into a box of a canvas. */
  tile(context, picture, i, x, y, side) {
    const { size, columns } = this;
    context.imageSmoothingEnabled = side < size;
    context.drawImage(
      picture, (i % columns) * size, Math.floor(i / columns) * size, size, size, x, y, side, side,
    );
  }

  close() {
    for (const { x_t, x0 } of this.list) {
      x_t.close();
      x0?.close();
    }
    this.list = [];
  }
}

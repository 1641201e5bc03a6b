// The images of one state, side by side on a canvas; one of them is chosen.

import { make } from "./elements.js";
import { text } from "./words.js";

const GAP = 4;

export class Board {
  /** @param choose called with the number of an image that was clicked or moved to */
  constructor(choose, { columns = null, most = 640 } = {}) {
    this.chosen = 0;
    this.columns = columns;
    this.canvas = make("canvas", { class: "board", tabindex: choose ? 0 : false, role: "img" });
    this.canvas.style.maxWidth = `${most}px`;
    this.choose = choose;
    if (choose) {
      this.canvas.addEventListener("click", (event) => this.#clicked(event));
      this.canvas.addEventListener("keydown", (event) => this.#key(event));
    }
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  show(states, picture) {
    Object.assign(this, { states, picture });
    this.canvas.setAttribute("aria-label", text("board", { count: states.start.images }));
    this.#draw();
  }

  select(index) {
    this.chosen = index;
    this.#draw();
  }

  get #columns() {
    const count = this.states.start.images;
    if (!this.columns) return this.states.columns;
    return Math.min(count, this.canvas.clientWidth < 480 ? Math.ceil(this.columns / 2) : this.columns);
  }

  #draw() {
    if (!this.states || !this.canvas.clientWidth) return;
    const { canvas, states } = this;
    const scale = devicePixelRatio;
    const columns = this.#columns;
    const rows = Math.ceil(states.start.images / columns);
    const gap = Math.round(GAP * scale);
    const width = Math.round(canvas.clientWidth * scale);
    const side = Math.floor((width - gap * (columns + 1)) / columns);
    const height = rows * side + (rows + 1) * gap;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      canvas.style.aspectRatio = `${width} / ${height}`;
    }
    this.place = { columns, step: side + gap, scale };
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    for (let i = 0; i < states.start.images; i += 1) {
      const x = gap + (i % columns) * (side + gap);
      const y = gap + Math.floor(i / columns) * (side + gap);
      if (this.choose && i === this.chosen && states.start.images > 1) {
        context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
        context.fillRect(x - gap / 2, y - gap / 2, side + gap, side + gap);
      }
      states.tile(context, this.picture, i, x, y, side);
    }
  }

  #clicked({ offsetX, offsetY }) {
    if (!this.place) return;
    const { columns, step, scale } = this.place;
    const column = Math.min(columns - 1, Math.floor((offsetX * scale) / step));
    this.#move(Math.floor((offsetY * scale) / step) * columns + column);
  }

  #key(event) {
    const columns = this.place?.columns ?? 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.#move(this.chosen + steps[event.key]);
  }

  #move(index) {
    if (this.states && index >= 0 && index < this.states.start.images) this.choose(index);
  }
}

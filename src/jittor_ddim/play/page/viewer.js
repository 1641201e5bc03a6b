// A run to watch: the images, the film of one of them, the schedule, and how to have it again.

import { Board } from "./board.js";
import { make } from "./elements.js";
import { Film } from "./film.js";
import { Run, Status } from "./run.js";
import { Schedule } from "./schedule.js";
import { Share } from "./share.js";

const REPLAY_MS = 3000;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Viewer {
  constructor(page, options) {
    this.page = page;
    this.image = 0;
    this.position = 0;
    this.status = new Status();
    this.run = new Run(page.about.image_size, this.status);
    this.board = new Board((image) => this.#choose(image), options);
    this.film = new Film((position) => this.#scrub(position));
    this.schedule = new Schedule(page.about);
    this.share = new Share(this.status);
    this.views = ["x_t", "x0"].map((view) =>
      make("button", {
        type: "button", text: `view_${view}`, class: "choice",
        onclick: () => { page.state.view = view; page.remember(); this.#show(); },
      }),
    );
    const replay = make("button", { type: "button", class: "quiet", text: "replay", onclick: () => this.#replay() });
    this.element = make(
      "div", { class: options?.columns ? "viewer wide" : "viewer" },
      make("div", { class: "picture" }, this.board.canvas, this.status.element),
      make("div", { class: "side" },
        make("div", { class: "views", role: "group", label: "view" }, ...this.views, replay),
        this.schedule.element, this.share.element),
      this.film.element,
    );
  }

  async begin(ask) {
    this.following = true;
    clearInterval(this.timer);
    this.share.set({ ask, start: null }); // no lines until it has been accepted
    const title = this.page.about.engines.find(({ name }) => name === ask.engine)?.title;
    const done = await this.run.begin(ask, (states) => this.#came(states, ask), title);
    if (done) { // for whoever drives the page: how many runs have reached their end, and when
      performance.mark("done", { detail: { seconds: done.seconds } });
      this.element.dataset.done = Number(this.element.dataset.done ?? 0) + 1;
    }
    return done;
  }

  stop() {
    this.run.stop();
    clearInterval(this.timer);
  }

  /** Say everything again in another language. */
  translate() {
    this.status.translate();
    if (this.states) this.#show();
  }

  #came(states, ask) {
    if (states !== this.states) {
      this.states?.close();
      this.states = states;
      performance.mark("begun");
      this.image = Math.min(this.image, states.start.images - 1);
      this.position = 0;
      this.share.set({ ask, start: states.start });
    }
    if (this.following) this.position = states.list.length - 1;
    this.#show();
  }

  #show() {
    const { states, position } = this;
    const { view } = this.page.state;
    this.views.forEach((button, i) => button.setAttribute("aria-pressed", ["x_t", "x0"][i] === view));
    if (!states) return;
    this.board.chosen = this.image;
    this.board.show(states, states.picture(position, view));
    this.film.show(states, this.image, position);
    this.schedule.show(states.start.timesteps);
    this.schedule.mark(states.list[position].t);
  }

  #choose(image) {
    this.image = image;
    this.#show();
  }

  #scrub(position) {
    clearInterval(this.timer);
    this.following = position === this.states.list.length - 1;
    this.position = position;
    this.#show();
  }

  #replay() {
    if (!this.states) return;
    clearInterval(this.timer);
    const last = this.states.list.length - 1;
    this.#scrub(calm.matches ? last : 0);
    this.timer = setInterval(() => {
      if (this.position >= last) clearInterval(this.timer);
      else this.#scrubTo(this.position + 1);
    }, REPLAY_MS / Math.max(1, last));
  }

  #scrubTo(position) {
    this.position = Math.min(position, this.states.list.length - 1);
    this.#show();
  }
}

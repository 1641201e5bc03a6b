// Two seeds, and the images of the points on the arc between their noise.

import { make } from "../elements.js";
import { ask } from "../state.js";
import { Viewer } from "../viewer.js";

export class Arc {
  controls = ["network", "engine", "precision", "sampler", "timesteps", "spacing", "eta", "points", "seed", "other_seed", "class", "guidance"];

  constructor(page) {
    this.page = page;
    this.viewer = new Viewer(page, { columns: 12, most: 1100 });
    this.element = make("div", {}, make("p", { class: "about", text: "about_arc" }), this.viewer.element);
  }

  /** What a state must be here: images of different classes are no arc. */
  fix({ class: label }) {
    return label === "all" ? { class: this.page.about.no_class ? "" : "0" } : {};
  }

  run() {
    const { state, about } = this.page;
    const more = { num_samples: state.points, other_seed: state.other_seed };
    return this.viewer.begin(ask(state, about, "arc", more));
  }

  stop() {
    this.viewer.stop();
  }

  translate() {
    this.viewer.translate();
  }
}

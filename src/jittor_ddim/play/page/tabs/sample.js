// Images from noise.

import { ask } from "../state.js";
import { Viewer } from "../viewer.js";

export class Sample {
  controls = ["network", "engine", "precision", "sampler", "timesteps", "spacing", "eta", "num_samples", "seed", "class", "guidance"];

  constructor(page) {
    this.page = page;
    this.viewer = new Viewer(page);
    this.element = this.viewer.element;
    this.element.classList.add("whole");
  }

  run() {
    const { state, about } = this.page;
    return this.viewer.begin(ask(state, about, "sample", { num_samples: state.num_samples }));
  }

  stop() {
    this.viewer.stop();
  }

  translate() {
    this.viewer.translate();
  }
}

// How to have the same again: an address, a command, Python lines, files.

import { make } from "./elements.js";
import { file } from "./server.js";
import { png } from "./states.js";
import { fill, text, why } from "./words.js";

const FILES = ["png", "gif", "webp", "npz"];

export class Share {
  /**
   * @param status where a failed download is said
   * @param name what files are called besides, where there are those of several engines
   */
  constructor(status, name = "") {
    Object.assign(this, { status, name });
    this.dialog = make("dialog", { class: "share", label: "again" });
    this.open = make("button", { type: "button", text: "again", onclick: () => this.#open() });
    this.files = FILES.map((suffix) =>
      make("button", { type: "button", class: "quiet", onclick: () => this.#download(suffix) }, suffix.toUpperCase()),
    );
    this.element = make(
      "div", { class: "share-row" }, this.open,
      make("span", { class: "files", role: "group", label: "download" },
        make("span", { text: "download" }), ...this.files),
      this.dialog,
    );
  }

  /** Take what is shown now. */
  set({ ask, start }) {
    Object.assign(this, { ask, start });
  }

  #open() {
    const { command, python } = this.start ?? {};
    const picture = this.ask?.picture;
    const parts = [
      this.#part("address", location.href),
      ...(picture ? [this.#picture(picture)] : []),
      ...(this.start ? [this.#part("command", command), this.#part("python", python)] : []),
    ];
    this.dialog.replaceChildren(
      make("h2", { text: "again" }),
      ...parts,
      make("form", { method: "dialog" }, make("button", { text: "close" })),
    );
    fill(this.dialog);
    this.dialog.showModal();
  }

  /** The file that the lines read, and whether the address has it too. */
  #picture(base64) {
    const carried = new URLSearchParams(location.search).has("picture");
    const save = make("button", {
      type: "button", class: "quiet", text: "save",
      onclick: () => keep(png(base64), "picture.png"),
    });
    return make(
      "section", {}, make("h3", { text: "your_picture" }),
      ...(carried ? [] : [make("p", { class: "wrong", text: "not_in_address" })]),
      make("p", { text: "picture_file" }), save,
    );
  }

  #part(name, content) {
    if (!content) return make("section", {}, make("h3", { text: name }), make("p", { text: "no_command" }));
    const shown = make("pre", { tabindex: 0 }, content);
    const copy = make("button", { type: "button", class: "quiet", text: "copy" });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(content);
        copy.textContent = text("copied");
      } catch { // no clipboard for a page of another machine: choose the text instead
        getSelection().selectAllChildren(shown);
      }
    });
    return make("section", {}, make("h3", { text: name }), shown, copy);
  }

  async #download(suffix) {
    if (!this.ask) return;
    this.files.forEach((button) => { button.disabled = true; });
    try {
      const { kind, seed } = this.ask;
      keep(await file(suffix, this.ask), `${["ddim", kind, seed, this.name].filter(String).join("-")}.${suffix}`);
    } catch (error) {
      this.status.fail(why(error));
    }
    this.files.forEach((button) => { button.disabled = false; });
  }
}

/** Let the browser save a file. */
function keep(content, name) {
  const url = URL.createObjectURL(content);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

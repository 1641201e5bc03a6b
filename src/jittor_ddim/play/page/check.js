// What a parameter of an address may be.

const TABS = ["sample", "arc", "picture", "twins"];
const FRACTIONS = new Set(["eta", "guidance", "strength"]); // other numbers are whole
const PICTURE = /^[\w-]*$/; // base64 as an address carries it
const MOST_GAIN = 1e6;

/** The tabs that there are: two engines take two. */
export const tabNames = ({ engines }) => TABS.filter((name) => name !== "twins" || engines.length > 1);

/** Return {value}, as the state holds it, or {possible}: what would do, if that can be said. */
export function check(key, given, about) {
  if (key === "network") return { value: about.network }; // what the server was asked for
  if (key === "picture") return PICTURE.test(given) ? { value: given } : {};
  if (key === "class") return label(given, about);
  const range = ranges(about)[key];
  if (!range) {
    const names = choices(about)[key];
    return names.includes(given) ? { value: given } : { possible: names.join(", ") };
  }
  const [least, most] = range;
  const value = given.trim() === "" ? NaN : Number(given);
  const fits = value >= least && value <= most && (FRACTIONS.has(key) || Number.isInteger(value));
  return fits ? { value } : { possible: `${least} … ${most}` };
}

/** A class by its number, as addresses that the page writes have it, or by its name. */
function label(given, { classes, no_class: none }) {
  if (given === "" ? none : classes.length && given === "all") return { value: given };
  const number = classes.findIndex((_, i) => String(i) === given);
  const found = number < 0 ? classes.indexOf(given) : number;
  if (found >= 0) return { value: String(found) };
  return { possible: classes.length ? ["all", ...classes].join(", ") : "" };
}

const ranges = ({ limits, most_images: most }) => ({
  ...limits, num_samples: [1, most], variants: [1, most], points: [Math.min(2, most), most], gain: [1, MOST_GAIN],
});

const choices = (about) => ({
  tab: tabNames(about),
  engine: about.engines.map(({ name }) => name),
  precision: about.precisions,
  sampler: about.samplers.map(({ name }) => name),
  spacing: about.spacings,
  view: ["x_t", "x0"],
  mode: ["reconstruct", "edit"],
});

// What the page was given with it: its settings and words; and numbers as people read them.

export const settings = JSON.parse(document.getElementById("settings").textContent);

const BYTES = ["bytes", "kilobytes", "megabytes", "gigabytes"];

/** Return a text of the page with its facts put in. */
export function say(name, facts = {}) {
  return fill(settings.texts[name], facts);
}

function fill(text, facts) {
  return text.replace(/\{(\w+)\}/g, (_, fact) => facts[fact]);
}

/** Return in the page's language what a report calls metadata; as it is, where that is not known. */
export function finding(words) {
  const [, name, place] = words.match(/^(.*?)( \(.*\))?$/s);
  for (const [english, own] of settings.findings) {
    const found = name.match(new RegExp(`^${english.replace(/\{(\w+)\}/g, "(?<$1>.+)")}$`, "s"));
    if (found) return fill(own, found.groups) + (place ?? "");
  }
  return words;
}

/** Have an element say a text. One that it says already is left as it is, selected and unannounced. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return a file's name with its format and control characters as escapes: U+202E would show `gpj.mp4` as `4pm.jpg`.
 * What is written with such characters stays: the joiners and tags of emoji, the number signs of Arabic and others.
 */
export function readable(name) {
  const escape = (character) => `\\u{${character.codePointAt().toString(16).padStart(4, "0")}}`;
  return name.replace(/(?![\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u200c\u200d\u{110bd}\u{110cd}\u{e0020}-\u{e007f}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escape);
}

/** Return a number; a dash for null, by which a report says that nothing was measured. */
export function number(value, digits = 1) {
  if (value === null) return "–";
  return value.toLocaleString(settings.language, { maximumFractionDigits: digits });
}

export function bytes(count) {
  let step = 0;
  for (; count >= 1000 && step < BYTES.length - 1; step++) count /= 1024;
  return `${number(count)} ${say(BYTES[step])}`;
}

/** Return a time span; under a minute with `digits` after the point. */
export function span(seconds, digits = 0) {
  if (seconds < 60) return say("seconds", { seconds: number(seconds, digits) });
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return say("minutes", { minutes, seconds: whole % 60 });
  return say("hours", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

/** Return when something was, by this machine's clock; `timeStyle` as Intl has it. */
export function moment(text, timeStyle = "short") {
  return new Date(text).toLocaleString(settings.language, { dateStyle: "medium", timeStyle });
}

// The form of a task's parameters.

import { number, settings } from "./words.js";

const form = document.getElementById("new");
const chosen = document.getElementById("chosen");
// Left empty, they are as the service's configuration has them.
const MAY_BE_EMPTY = ["user_id", "notes", "webhook_url"];

/** Return what the form asks for, as fields of an upload; what does not apply is not among them. */
export function parameters() {
  const fields = Object.fromEntries(new FormData(form));
  const names = [...Object.keys(settings.defaults), ...MAY_BE_EMPTY].filter((name) => name in fields);
  return Object.fromEntries(names.map((name) => [name, fields[name].trim()]));
}

/** Whose uploads a user's key makes is not asked. */
export function showOwner(isShown) {
  document.getElementById("owner").hidden = !isShown;
  form.elements.user_id.disabled = !isShown;
}

/** Point at the field that was refused, if it is one of the form's. */
export function showWrong(field) {
  const input = form.elements[field];
  if (!(input instanceof HTMLElement)) return;
  unfold();
  input.focus();
}

function unfold() {
  document.getElementById("parameters").open = true;
}

export function startParameters() {
  document.getElementById("defaults").addEventListener("click", fill);
  form.addEventListener("input", show);
  // A browser can point at a wrong value only where it is to be seen.
  form.addEventListener("invalid", unfold, { capture: true });
  fill();
}

function fill() {
  for (const [name, value] of Object.entries(settings.defaults)) form.elements[name].value = value;
  for (const name of MAY_BE_EMPTY) form.elements[name].value = "";
  show();
}

function show() {
  for (const input of form.querySelectorAll("input[type=range]")) {
    input.labels[0].querySelector(".value").textContent = number(Number(input.value), 3);
  }
  const isProtecting = form.elements.mode.value === "protect";
  for (const label of form.querySelectorAll(".protects")) {
    label.hidden = !isProtecting;
    label.control.disabled = !isProtecting; // what nobody sees can keep nothing from being sent
  }
  chosen.textContent = isProtecting ? inShort() : form.querySelector("[value=strip]").parentElement.textContent.trim();
}

/** Say in one line what is asked for, for when the form is folded. */
function inShort() {
  const { epsilon, video_strength: strength, audio_level: sound, every_n_frames: count } = form.elements;
  const level = sound.selectedOptions[0]?.textContent ?? "";
  const given = MAY_BE_EMPTY.map((name) => form.elements[name].value.trim()).filter(Boolean);
  const words = [`${number(epsilon.value * strength.value, 3)}`, level, `N = ${count.value}`, ...given];
  return `· ${words.map((word) => word.slice(0, 40)).join(" · ")}`;
}

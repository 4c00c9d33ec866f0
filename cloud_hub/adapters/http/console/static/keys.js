// Hands on the keyboard: every key that the dialogue of `?` names, and none while somebody types.
import { switchTheme } from "./theme.js";

const PLACES = { f: "/", e: "/escalations", r: "/review", p: "/packs" };
const PATIENCE_MS = 1200;

function isTyping(target) {
  return target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function moveInRows(step) {
  const links = [...document.querySelectorAll("[data-rows] a.open")];
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const to = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
  links[to].focus();
  links[to].scrollIntoView({ block: "nearest" });
}

function toggleKeys() {
  const dialog = document.getElementById("keys");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function press(key) {
  const button = [...document.querySelectorAll("[data-key]")].find(
    (one) => one.dataset.key === key && one.checkVisibility(),
  );
  button?.click();
  return Boolean(button);
}

export function startKeys(review) {
  let goingSince = 0;
  for (const button of document.querySelectorAll("[data-action=keys]")) button.addEventListener("click", toggleKeys);

  const actions = {
    "?": toggleKeys,
    "/": () => document.querySelector("[data-filter]")?.focus(),
    t: switchTheme,
    j: () => (review ? review.move(1) : moveInRows(1)),
    k: () => (review ? review.move(-1) : moveInRows(-1)),
    z: () => review?.back(),
    g: () => (goingSince = performance.now()),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
    if (isTyping(event.target)) return;
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const isGoing = performance.now() - goingSince < PATIENCE_MS;
    goingSince = 0;
    if (isGoing && PLACES[event.key]) return location.assign(PLACES[event.key]);
    const isLabel = /^[0-9u]$/.test(event.key);
    if (isLabel && !event.repeat && !press(event.key)) return review?.unknown(event.key);
    if (isLabel || actions[event.key]) {
      event.preventDefault();
      if (!isLabel) actions[event.key]();
    }
  });
}

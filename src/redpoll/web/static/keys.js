// Single keys. Off inside fields and with modifiers; each has a link or button too.
"use strict";
const help = document.getElementById("keys"), enabled = document.getElementById("keys-on");
const GO_MS = 1500; // how long `g` waits for its second key
const ROWS = "main :is(article.model h3, tbody tr, .log > li)";
let pendingUntil = 0;

function keysOn() {
  try {
    return localStorage.getItem("redpoll.keys") !== "off";
  } catch { // storage may be forbidden
    return true;
  }
}

function inField(element) {
  return element.isContentEditable || element.matches("input, select, textarea");
}

function links() {
  return [...document.querySelectorAll(ROWS)].map((row) => row.querySelector("a")).filter((a) => a && a.checkVisibility());
}

// From the row that is focused to its neighbour; from nowhere to the first or the last.
function step(by) {
  const all = links();
  if (!all.length) return;
  const at = all.findIndex((a) => a === document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function go(key) {
  const link = document.querySelector(`[data-go="${key}"]`);
  if (link) location.assign(link.href);
}

function toFilter() {
  const field = document.getElementById("filter");
  if (field) field.focus();
  else location.assign("/rollouts#filter"); // which the browser focuses
}

const KEYS = {
  "/": toFilter,
  j: () => step(1),
  k: () => step(-1),
  a: () => document.querySelector("main input[name=reason]")?.focus(),
  g: () => { pendingUntil = Date.now() + GO_MS; },
  "?": () => help.togglePopover(),
};

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (inField(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const second = Date.now() < pendingUntil;
  pendingUntil = 0;
  if (!keysOn() && event.key !== "?") return;
  if (second && /^[nrqsm]$/.test(event.key)) go(event.key);
  else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
});

enabled.checked = keysOn();
enabled.addEventListener("change", () => {
  try {
    localStorage.setItem("redpoll.keys", enabled.checked ? "on" : "off");
  } catch { /* then it holds for this page alone */ }
});
for (const button of document.querySelectorAll("[popovertarget=keys][hidden]")) button.hidden = false;

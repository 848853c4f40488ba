// Live parts: the server sends what changed, this puts it in place. Pages work without it.
"use strict";
const main = document.getElementById("main"), gone = document.querySelector(".gone");
const live = document.body.dataset.live;
const STALE_MS = 6000, RETRY_MS = 5000, TURN_MS = 1500;
const waiting = new Map(); // parts that came while something in them was held
let source = null, opened = 0, heard = 0, cut = false;

// What a finger, a cursor or the keyboard is on: it must not move, and its part must wait.
function held() {
  const focus = document.activeElement;
  if (focus && focus !== main && main.contains(focus)) return focus;
  return main.querySelector(":is(a, button, input, select, label, summary):hover");
}

// Make `now` like `next` in place, so that focus, typed text and announcements survive.
function morph(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) return now.replaceWith(next);
  if (now.nodeType === Node.TEXT_NODE && now.data !== next.data) now.data = next.data;
  if (now.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...now.attributes])
    if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
  for (const { name, value } of next.attributes)
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  const old = [...now.childNodes], fresh = [...next.childNodes];
  fresh.forEach((node, i) => (i < old.length ? morph(old[i], node) : now.append(node)));
  old.slice(fresh.length).forEach((node) => node.remove());
}

function show() {
  const hold = held(), top = hold && hold.getBoundingClientRect().top;
  for (const [name, html] of waiting) {
    const part = document.querySelector(`[data-part="${name}"]`);
    if (part && hold && part.contains(hold)) continue;
    waiting.delete(name);
    if (!part) continue;
    const template = document.createElement("template");
    template.innerHTML = `<div data-part="${name}">${html}</div>`;
    morph(part, template.content.firstChild);
  }
  const moved = hold && hold.isConnected ? hold.getBoundingClientRect().top - top : 0;
  if (moved) scrollBy(0, moved);
}

// The page's order changes with the state (running, rolled back): load it anew, unless in use.
function turn() {
  const typed = [...main.querySelectorAll("input[name=reason]")].some((field) => field.value);
  if (!held() && !typed) location.assign(location.pathname + location.search);
}

function receive(event) {
  const page = JSON.parse(event.data);
  heard = Date.now();
  if (cut) connected(true);
  for (const name in page.parts) waiting.set(name, page.parts[name]);
  if (document.title !== page.title) document.title = page.title;
  document.body.classList.toggle("calls", page.calls);
  const icon = document.querySelector("link[rel=icon]"), face = `/static/${page.calls ? "calls" : "calm"}.svg`;
  if (icon.getAttribute("href") !== face) icon.setAttribute("href", face);
  show();
  if (page.layout !== document.body.dataset.layout) setTimeout(turn, TURN_MS);
}

function age(ms) {
  const s = Math.round(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60);
  return h ? `${h}\u00a0h ${m % 60}\u00a0min` : m ? `${m}\u00a0min ${s % 60}\u00a0s` : `${s}\u00a0s`;
}

function connected(yes) {
  if (cut === yes) {
    cut = !yes;
    gone.hidden = yes;
    for (const button of main.querySelectorAll("button")) button.disabled = cut;
    const at = new Date(heard).toISOString().slice(11, 19);
    gone.firstElementChild.textContent = `Not connected since ${at} UTC. `;
  }
  if (cut) gone.children[1].textContent = `This is ${age(Date.now() - heard)} old. `;
}

function open() {
  if (source) source.close();
  opened = Date.now();
  source = new EventSource(live);
  source.onmessage = receive;
}

// A browser keeps six connections to a host: hidden pages give theirs back.
function wake() {
  if (!document.hidden) return open();
  if (source) source.close();
  source = null;
}

// Cut off is only who was connected before: where streams do not get through, the page is still.
function watch() {
  if (document.hidden || !heard || Date.now() - Math.max(heard, opened) < STALE_MS) return;
  connected(false);
  if (source.readyState === EventSource.CLOSED && Date.now() - opened > RETRY_MS) open();
}

if (live) {
  wake();
  document.addEventListener("visibilitychange", wake);
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
  for (const kind of ["focusout", "pointerout"])
    document.addEventListener(kind, () => setTimeout(show, 50), { passive: true });
  setInterval(watch, 1000);
}

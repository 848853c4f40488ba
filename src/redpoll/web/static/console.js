// Live parts: the server sends what changed, this puts it in place. Pages work without it.
"use strict";
const gone = document.querySelector(".gone"), live = document.body.dataset.live;
const STALE_MS = 6000, RETRY_MS = 5000;
let source = null, heard = Date.now(), cut = false;

// What a finger, a cursor or the keyboard is on: it must not move, and its part must wait.
function held() {
  const focus = document.activeElement;
  if (focus && focus !== document.body && document.getElementById("main").contains(focus)) return focus;
  return document.querySelector("main :is(a, button, input, select, summary, label):hover");
}

// Make `now` like `next` in place, so that focus, typed text and announcements survive.
function morph(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) return now.replaceWith(next);
  if (now.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...now.attributes])
    if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
  for (const { name, value } of next.attributes)
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  const old = [...now.childNodes], fresh = [...next.childNodes];
  fresh.forEach((node, i) => (i < old.length ? morph(old[i], node) : now.append(node)));
  old.slice(fresh.length).forEach((node) => node.remove());
}

const waiting = new Map(); // parts that came while something in them was held

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
  if (hold && hold.isConnected) {
    const moved = hold.getBoundingClientRect().top - top;
    if (moved) scrollBy(0, moved);
  }
}

function receive(event) {
  const page = JSON.parse(event.data);
  heard = Date.now();
  connected(true);
  for (const name in page.parts) waiting.set(name, page.parts[name]);
  if (document.title !== page.title) document.title = page.title;
  document.body.classList.toggle("calls", page.calls);
  const icon = document.querySelector("link[rel=icon]"), face = `/static/${page.calls ? "calls" : "calm"}.svg`;
  if (icon.getAttribute("href") !== face) icon.setAttribute("href", face);
  show();
  if (page.layout !== document.body.dataset.layout) turn();
}

// The page's order changes with the state (running, rolled back): load it anew, unless in use.
function turn() {
  const typed = [...document.querySelectorAll("main form[method=post] input[name=reason]")].some((f) => f.value);
  if (!held() && !typed) setTimeout(() => location.assign(location.pathname + location.search), 1500);
}

function words(ms) {
  const s = Math.round(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60);
  return h ? `${h}\u00a0h ${m % 60}\u00a0min` : m ? `${m}\u00a0min ${s % 60}\u00a0s` : `${s}\u00a0s`;
}

function connected(yes) {
  if (yes && !cut) return;
  cut = !yes;
  gone.hidden = yes;
  for (const button of document.querySelectorAll("main button")) button.disabled = cut;
  if (yes) return;
  const at = new Date(heard).toISOString().slice(11, 19);
  gone.textContent = `Not connected since ${at} UTC: this is ${words(Date.now() - heard)} old. ` +
    "Trying again. Traffic does not depend on this page.";
}

function open() {
  if (source) source.close();
  source = new EventSource(live);
  source.onmessage = receive;
}

// A browser keeps six connections to a host: hidden pages give theirs back.
function wake() {
  if (document.hidden) {
    if (source) source.close();
    source = null;
  } else if (!source) {
    heard = Date.now();
    open();
  }
}

if (live && window.EventSource) {
  wake();
  document.addEventListener("visibilitychange", wake);
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
  for (const kind of ["focusout", "pointerout"])
    document.addEventListener(kind, () => setTimeout(show, 50), { passive: true });
  setInterval(() => {
    if (document.hidden || Date.now() - heard < STALE_MS) return;
    connected(false);
    if (!source || source.readyState === EventSource.CLOSED) open();
  }, 1000);
}

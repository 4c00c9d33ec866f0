// What the page says of its own connection, and what it does when the hub refuses or does not answer.
const NOTICE_MS = 8000;
let fading = 0;

export function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => (box.textContent = ""), NOTICE_MS);
}

export function startLive() {
  let wasLost = false;
  const show = (state) => {
    for (const mark of document.querySelectorAll("#live")) mark.dataset.state = state;
  };
  const refresh = () => document.body.dispatchEvent(new CustomEvent("refresh"));

  document.addEventListener("reload", refresh);
  hear((state) => {
    show(state);
    if (state === "on" && wasLost) refresh();
    wasLost = state !== "on";
  }, refresh);

  document.addEventListener("htmx:response:error", (event) => {
    const status = event.detail.ctx?.response?.status ?? 0;
    notice(status === 403 ? "Your role may not do that." : `The hub refused that (${status}). Nothing was changed.`);
  });
  document.addEventListener("htmx:error", (event) => {
    if (!event.detail.ctx?.response) notice("The hub does not answer. What you see is what it said last.");
  });
}

// Takes part in the stream that all pages share, while this one is seen; each topic becomes an event on the page.
function hear(tellState, refresh) {
  const stream = document.getElementById("stream");
  if (!stream) return;
  const wanted = new Map(stream.dataset.topics.split(",").map((topic) => topic.split(":", 2)));
  let after = Number(stream.dataset.after);
  let isHere = false;

  function take({ data: { state, topic, last, data } }) {
    if (!isHere) return;
    if (state) return tellState(state);
    after = Math.max(after, last);
    const device = wanted.get(topic);
    if (topic !== "reload" && !wanted.has(topic)) return;
    if (device && data.kind !== "tick" && data.device !== device) return;
    stream.dispatchEvent(new CustomEvent(topic, { bubbles: true, detail: data }));
  }

  function be(here) {
    if (here === isHere) return;
    isHere = here;
    port.postMessage({ isHere, after });
  }

  const shared = "SharedWorker" in window ? new SharedWorker(stream.dataset.worker) : null;
  const port = shared ? shared.port : new Worker(stream.dataset.worker);
  port.onmessage = take;
  be(!document.hidden);
  document.addEventListener("visibilitychange", () => {
    be(!document.hidden);
    if (isHere) refresh();
  });
  window.addEventListener("pagehide", () => be(false));
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    be(!document.hidden);
    refresh();
  });
}

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

  document.addEventListener("htmx:sse:after:connection", () => {
    show("on");
    if (wasLost) refresh();
    wasLost = false;
  });
  for (const name of ["htmx:sse:error", "htmx:sse:close"]) {
    document.addEventListener(name, () => {
      show("off");
      wasLost = true;
    });
  }
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (event.detail.connection.attempt > 0) {
      show("off");
      wasLost = true;
    }
  });
  document.addEventListener("reload", refresh);
  // htmx may have connected before this module ran; then its connection is there already.
  if (document.getElementById("stream")?._htmx?.sse) show("on");

  document.addEventListener("htmx:response:error", (event) => {
    const status = event.detail.ctx?.response?.status ?? 0;
    notice(status === 403 ? "Your role may not do that." : `The hub refused that (${status}). Nothing was changed.`);
  });
  document.addEventListener("htmx:error", (event) => {
    if (!event.detail.ctx?.response) notice("The hub does not answer. What you see is what it said last.");
  });
}

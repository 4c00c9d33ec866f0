// The queue of cases: the next one stands ready in the page, so a label shows it at once and travels behind.
const KEPT = 20;

export function startReview() {
  const queue = document.getElementById("queue");
  if (!queue) return null;
  queue.dataset.hands = "";
  const labelled = [];
  const progress = document.getElementById("progress");

  const echo = document.getElementById("echo");
  const labelKeys = document.querySelector("[data-label-keys]");

  let underway = 0;

  const waiting = () => [...queue.querySelectorAll(":scope > .case-now:not([data-done])")];
  const current = () => queue.querySelector(":scope > .case-now.is-now");

  function show(article) {
    current()?.classList.remove("is-now");
    article?.classList.add("is-now");
    nameKeys(article);
    tell();
  }

  // The keys of this case's classes; the two ends are enough.
  function nameKeys(article) {
    const keys = [...(article?.querySelectorAll("[data-key]:not([data-key=u])") ?? [])].map((one) => one.dataset.key);
    const ends = [...labelKeys.querySelectorAll("kbd")];
    labelKeys.hidden = !keys.length;
    if (keys.length) [ends[0].textContent, ends[1].textContent] = [keys[0], keys.at(-1)];
  }

  const deviceOf = (article) => article.dataset.device.split("/").at(-1);

  function tell() {
    const left = Number((document.getElementById("review-n")?.textContent || "0").replaceAll(",", ""));
    const done = labelled.length;
    const all = Math.max(Number(progress.dataset.all), left, done);
    progress.dataset.done = String(done);
    progress.querySelector("[data-at]").textContent = String(Math.min(done + 1, Math.max(all, 1)));
    progress.querySelector("[data-of]").textContent = all.toLocaleString("en-US");
    const bar = progress.querySelector("progress");
    bar.max = Math.max(all, 1);
    bar.value = done;
    progress.hidden = !current();
  }

  function move(step) {
    const cases = waiting();
    if (!cases.length) return;
    show(cases[(cases.indexOf(current()) + step + cases.length) % cases.length]);
  }

  function finish(article) {
    const cases = waiting();
    const next = cases[cases.indexOf(article) + 1] ?? cases.find((one) => one !== article);
    article.dataset.done = "";
    labelled.push(article);
    const { said } = article.dataset;
    echo.textContent = said ? `${said} sent to ${deviceOf(article)} · z goes back to it` : "left to others · z goes back to it";
    show(next);
    for (const old of labelled.slice(0, -KEPT)) old.replaceChildren();
  }

  function reopen(article) {
    const at = labelled.indexOf(article);
    if (at < 0 || !article.childElementCount) return;
    labelled.splice(at, 1);
    delete article.dataset.done;
    for (const button of article.querySelectorAll("[data-label]")) {
      const isSaid = button.dataset.label === article.dataset.said;
      button.classList.toggle("is-human", isSaid);
      button.setAttribute("aria-pressed", String(isSaid));
    }
    show(article);
    echo.textContent = `you said ${article.dataset.said || "unsure"} · another key changes it`;
  }

  function count(step) {
    underway += step;
    queue.toggleAttribute("data-busy", underway > 0);
  }

  function dropRepeats() {
    const seen = new Set();
    for (const article of queue.querySelectorAll(":scope > .case-now")) {
      if (seen.has(article.id)) article.remove();
      seen.add(article.id);
    }
  }

  queue.addEventListener("click", (event) => {
    const button = event.target.closest("[data-label]");
    if (button) button.closest(".case-now").dataset.said = button.dataset.label;
  });
  queue.addEventListener("htmx:finally:request", () => count(-1));
  queue.addEventListener("htmx:before:request", (event) => {
    count(1);
    const article = event.target.closest(".case-now");
    if (article) finish(article);
  });
  for (const name of ["htmx:response:error", "htmx:error"])
    queue.addEventListener(name, (event) => reopen(event.target.closest(".case-now")));
  document.addEventListener("htmx:config:request", (event) => {
    const have = [...queue.children].map((one) => one.id.replace("case-", ""));
    event.detail.ctx.request.headers["X-Have"] = have.join(" ");
  });
  document.addEventListener("htmx:after:swap", () => {
    dropRepeats();
    if (!current()) show(waiting()[0]);
    tell();
  });

  show(waiting()[0]);
  function unknown(key) {
    if (current()?.querySelector("[data-label]")) echo.textContent = `${key} is no class of this case`;
  }

  return { move, unknown, back: () => reopen(labelled.at(-1)) };
}

// Light or dark: the system's choice until somebody chooses; kept in a cookie, so that the server draws the right one.
const YEAR_S = 31536000;

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  document.cookie = `tandem_theme=${theme}; Path=/; Max-Age=${YEAR_S}; SameSite=Strict`;
  document.dispatchEvent(new Event("theme"));
}

export function startTheme() {
  for (const button of document.querySelectorAll("[data-action=theme]")) button.addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
}

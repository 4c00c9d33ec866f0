// Asks once before a button with `data-confirm` does what it says.
export function startAsking() {
  const dialog = document.createElement("dialog");
  dialog.id = "ask";
  const text = document.createElement("p");
  const buttons = document.createElement("form");
  buttons.method = "dialog";
  buttons.className = "buttons spaced";
  const yes = document.createElement("button");
  const no = document.createElement("button");
  yes.className = "button main";
  yes.value = "yes";
  no.className = "button";
  no.value = "no";
  no.textContent = "Cancel";
  buttons.append(yes, no);
  dialog.append(text, buttons);
  document.body.append(dialog);

  let asked = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-confirm]");
    if (!button) return;
    event.preventDefault();
    asked = button;
    text.textContent = button.dataset.confirm;
    yes.textContent = button.textContent;
    dialog.returnValue = "no";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "yes" && asked) asked.form.requestSubmit(asked);
    asked = null;
  });
}

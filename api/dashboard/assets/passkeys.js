
// Passkeys: what can't be done without a script. Forms for it are hidden where
// the browser has no way to.
(() => {
  const page = document;
  const able = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON) &&
    !/^[\d.]+$|^\[/.test(location.hostname); // a passkey belongs to a domain name

  function offer() {
    for (const part of page.querySelectorAll("[data-passkey]")) part.hidden = !able;
    for (const part of page.querySelectorAll("[data-no-passkey]")) part.hidden = able;
  }

  async function optionsFor(form) {
    const body = {};
    if (form.elements.password) body.password = form.elements.password.value;
    const answer = await fetch(form.dataset.options, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.detail);
    return said;
  }

  async function answer(form) {
    const said = await optionsFor(form);
    const wanted = said.options.publicKey;
    const credential = form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(wanted) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(wanted) });
    form.elements.credential.value = JSON.stringify(credential);
    form.elements.challenge.value = said.challenge ?? "";
    if (form.elements.password) form.elements.password.disabled = true; // it has done its work
    form.submit();
  }

  const faults = {
    NotAllowedError: "That was cancelled, or it took too long. Try again.",
    InvalidStateError: "This device has a passkey for this account already.",
  };

  page.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-passkey]");
    if (!form) return;
    event.preventDefault();
    const fault = form.querySelector("[data-passkey-fault]"), button = form.querySelector("button:not([type])");
    fault.textContent = "";
    button.disabled = true;
    try {
      await answer(form);
    } catch (error) {
      fault.textContent = error instanceof DOMException
        ? faults[error.name] ?? "This browser couldn't use a passkey here."
        : error.message;
      const password = form.elements.password;
      if (password) {
        password.value = "";
        password.focus();
      }
    } finally {
      button.disabled = false;
    }
  });

  page.addEventListener("htmx:after:swap", offer);
  offer();
})();

// What the pages do beyond links and forms. All of them work without it.
"use strict";

(() => {
  const page = document;

  // Times are written in UTC; here they become the reader's.
  const styles = {
    time: { dateStyle: "medium", timeStyle: "short" },
    day: { dateStyle: "medium" },
  };
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[data-local]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.valueOf())) time.textContent = at.toLocaleString(undefined, styles[time.dataset.local]);
    }
  }

  // A card that was loaded into the dialog opens it.
  const sheet = page.getElementById("sheet");
  page.addEventListener("htmx:after:swap", () => {
    localTimes(page);
    if (sheet && !sheet.open && sheet.firstElementChild) sheet.showModal();
  });
  if (sheet) {
    sheet.addEventListener("close", () => sheet.replaceChildren());
    sheet.addEventListener("click", (event) => {
      // The dialog itself is hit only beside its content: on its ground.
      if (event.target === sheet && !sheet.querySelector("form[data-typed]")) sheet.close();
    });
    sheet.addEventListener("input", (event) => event.target.form?.setAttribute("data-typed", ""));
  }

  page.addEventListener("click", (event) => {
    const target = event.target.closest("[data-close], [data-copy]");
    if (!target) return;
    const dialog = target.closest("dialog");
    if ("close" in target.dataset && dialog) {
      event.preventDefault(); // of a link, which leads back where there is no dialog
      dialog.close();
    }
    if ("copy" in target.dataset) {
      navigator.clipboard.writeText(target.dataset.copy).then(() => {
        const label = target.querySelector("[data-copied]") ?? target;
        const before = label.textContent;
        label.textContent = "Copied";
        setTimeout(() => { label.textContent = before; }, 1500);
      });
    }
  });

  // A form whose control changes by itself is sent by itself.
  page.addEventListener("change", (event) => {
    if (event.target.closest("[data-submit]")) event.target.form.requestSubmit();
  });

  // An open page of a team follows its stream of changes and renews itself.
  const app = page.querySelector("#app[data-live]:not([data-live=''])");
  if (app && window.EventSource) {
    let stale = false, renewing = false;
    const renew = async () => {
      if (renewing || page.hidden) { stale = true; return; }
      renewing = true;
      stale = false;
      try {
        await htmx.ajax("GET", location.pathname + location.search, { target: "#app", select: "#app", swap: "outerMorph", push: "false" });
      } finally {
        renewing = false;
        if (stale) renew();
      }
    };
    const changes = new EventSource(app.dataset.live);
    changes.addEventListener("change", renew);
    changes.addEventListener("reset", renew);
    changes.addEventListener("error", () => {
      // Closed for good: the reader may no longer follow it, and so not read on.
      if (changes.readyState === EventSource.CLOSED) location.assign(app.dataset.ended);
    });
    page.addEventListener("visibilitychange", () => { if (!page.hidden && stale) renew(); });
    window.addEventListener("pagehide", () => changes.close());
  }

  localTimes(page);
})();

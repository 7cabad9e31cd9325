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

  // What was done before is told no longer when something else is done.
  page.addEventListener("htmx:before:request", (event) => {
    if (event.detail.ctx.request.method === "POST") page.getElementById("said")?.replaceChildren();
  });

  // A form whose control changes by itself is sent by itself.
  page.addEventListener("change", (event) => {
    if (event.target.closest("[data-submit]")) event.target.form.requestSubmit();
  });

  // An open page of a team follows its stream of changes and renews itself.
  const app = page.querySelector("#app[data-live]:not([data-live=''])");
  if (app && window.EventSource) {
    const ended = () => location.assign(app.dataset.ended);
    const stream = (url) => new URL(url, location.href).pathname;
    let stale = false, renewing = false, following;

    // Only a whole page of the team takes the place of this one: a refusal is
    // left to the stream, which ends for good when the reader may not read on.
    app.addEventListener("htmx:before:swap", (event) => {
      const { ctx } = event.detail;
      if (ctx.renews && (ctx.response.status !== 200 || ctx.response.raw.redirected)) event.preventDefault();
    });
    const renew = async () => {
      if (renewing || page.hidden) { stale = true; return; }
      renewing = true;
      stale = false;
      const here = location.pathname + location.search;
      try {
        await htmx.ajax("GET", here, { source: app, target: "#app", select: "#app", swap: "outerMorph", push: "false", renews: true });
      } finally {
        renewing = false;
        // What was asked for may not be what the page shows by now: a search.
        if (stale || here !== location.pathname + location.search) renew();
        // The reader has gone on to another team, in another tab.
        if (following && stream(app.dataset.live) !== stream(following.url)) { following.close(); follow(); }
      }
    };
    const follow = () => {
      const changes = following = new EventSource(app.dataset.live);
      changes.addEventListener("change", renew);
      changes.addEventListener("reset", renew);
      changes.addEventListener("end", (event) => {
        // With one of these reasons the browser is to ask again; any other says
        // that the reader may not read on.
        if (!["renew", "shutdown"].includes(JSON.parse(event.data).reason)) ended();
      });
      changes.addEventListener("error", async () => {
        if (changes.readyState !== EventSource.CLOSED) return; // the browser asks again by itself
        const answer = await fetch(app.dataset.live.replace(/\/changes$/, ""), { method: "HEAD" }).catch(() => null);
        if ([401, 403, 404].includes(answer?.status)) return ended();
        setTimeout(() => { if (following === changes) { follow(); renew(); } }, 3000);
      });
    };
    follow();
    // What ends the membership ends the stream, and leads on by itself.
    page.addEventListener("submit", (event) => {
      if ("ends" in event.target.dataset) { following?.close(); following = null; }
    });
    page.addEventListener("visibilitychange", () => { if (!page.hidden && stale) renew(); });
    // A page that is kept for going back holds no stream, and has missed what
    // happened meanwhile when it is shown again.
    window.addEventListener("pagehide", () => { following?.close(); following = null; });
    window.addEventListener("pageshow", (event) => { if (event.persisted) { follow(); renew(); } });
  }

  localTimes(page);
})();

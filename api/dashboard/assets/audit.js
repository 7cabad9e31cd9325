// Days and moments of the audit log in the reader's own zone, and the slider
// through the life of a team.
"use strict";

(() => {
  const page = document;
  page.documentElement.setAttribute("data-script", "");

  // A field for a date and a time knows no zone: it shows the reader's, and what
  // is sent is UTC.
  const local = (at) => new Date(at.valueOf() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  function prepare() {
    for (const zone of page.querySelectorAll("[data-zone]")) {
      zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
    }
    for (const name of page.querySelectorAll("[data-zone-name]")) name.textContent = "your time";
    for (const field of page.querySelectorAll("input[data-utc]")) {
      const at = new Date(field.dataset.utc);
      if (!Number.isNaN(at.valueOf()) && field !== page.activeElement) field.value = local(at);
    }
  }
  page.addEventListener("formdata", (event) => {
    for (const field of event.target.querySelectorAll("input[type=datetime-local]")) {
      const at = new Date(field.value);
      if (field.value && !Number.isNaN(at.valueOf())) event.formData.set(field.name, at.toISOString());
      else event.formData.delete(field.name);
    }
    for (const slider of event.target.querySelectorAll("[data-place]")) event.formData.delete(slider.name);
  });

  // The slider. What is below it follows with a short delay, and what a later
  // move has overtaken isn't shown.
  let waiting;
  function parts() {
    const form = page.querySelector("[data-slider]");
    if (!form) return null;
    const from = new Date(form.dataset.from).valueOf(), to = new Date(form.dataset.to).valueOf();
    const range = form.querySelector("[data-place]"), field = form.querySelector("[data-utc]");
    return { form, from, to, range, field };
  }
  function show(at) {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const path = "/dashboard/audit/past" + (at ? "?as_of=" + encodeURIComponent(at.toISOString()) : "");
      htmx.ajax("GET", path, { target: "#then", select: "#then", swap: "outerHTML", push: path });
    }, 120);
  }
  page.addEventListener("input", (event) => {
    const s = parts();
    if (!s || event.target !== s.range) return;
    const most = Number(s.range.max), place = Number(s.range.value);
    const at = new Date(s.from + (s.to - s.from) * place / most);
    s.field.dataset.utc = at.toISOString();
    s.field.value = local(at);
    show(place === most ? null : at);
  });
  page.addEventListener("change", (event) => {
    const s = parts();
    if (!s || event.target !== s.field) return;
    const at = new Date(s.field.value);
    if (!Number.isNaN(at.valueOf())) show(at);
  });
  page.addEventListener("htmx:after:swap", () => {
    prepare();
    const s = parts(), then = page.getElementById("then");
    if (!s || !then) return;
    // A link has led to another moment: the slider goes along.
    const at = new Date(then.dataset.asOf);
    if (page.activeElement === s.range) return;
    s.field.dataset.utc = then.dataset.asOf;
    if (page.activeElement !== s.field) s.field.value = local(at);
    s.range.value = "now" in then.dataset ? s.range.max : String(Math.round((at - s.from) / Math.max(1, s.to - s.from) * Number(s.range.max)));
  });

  prepare();
})();

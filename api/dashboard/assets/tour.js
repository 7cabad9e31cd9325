// A guided tour: the steps of a list, shown one after the other at what each
// speaks of. A modal dialog holds the focus, ends with Escape and gives the
// focus back; where it stands is up to the style sheet.
(() => {
  const page = document;
  let dialog, steps = [], at = 0;

  const element = (kind, text, className) => Object.assign(page.createElement(kind), { textContent: text, className });

  function open(list) {
    steps = [...page.querySelectorAll(`${list} > li`)].map((step) => ({ text: step.textContent.trim(), at: step.dataset.at }));
    if (steps.length === 0) return;
    const own = dialog = element("dialog", "", "tour");
    dialog.setAttribute("aria-labelledby", "tour-count");
    dialog.setAttribute("aria-describedby", "tour-text");
    // The event comes a moment after the end, and another tour may be open by then.
    own.addEventListener("close", () => {
      own.remove();
      if (dialog !== own) return;
      dialog = null;
      mark();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(at + 1);
      if (event.key === "ArrowLeft") show(at - 1);
    });
    page.body.append(dialog);
    show(0);
  }

  function mark(target) {
    page.querySelectorAll(".tour-at").forEach((marked) => marked.classList.remove("tour-at"));
    target?.classList.add("tour-at");
  }

  function show(index) {
    if (index < 0 || index >= steps.length) return;
    at = index;
    const last = at === steps.length - 1;
    const target = page.querySelector(steps[at].at);
    mark(target);
    target?.scrollIntoView({ block: "nearest" });
    const text = element("p", steps[at].text);
    const count = element("p", `Step ${at + 1} of ${steps.length}`, "quiet small");
    text.id = "tour-text";
    count.id = "tour-count";
    const end = element("button", "End", "button quiet");
    const back = element("button", "Back", "button");
    const next = element("button", last ? "Done" : "Next", "button primary");
    back.disabled = at === 0;
    end.hidden = last;
    end.onclick = () => dialog.close();
    back.onclick = () => show(at - 1);
    next.onclick = () => (last ? dialog.close() : show(at + 1));
    const row = element("div", "", "row end");
    row.append(end, back, next);
    dialog.replaceChildren(count, text, row);
    if (!dialog.open) dialog.showModal();
    next.focus();
  }

  page.addEventListener("click", (event) => {
    const start = event.target.closest("[data-tour]");
    if (start) open(start.dataset.tour);
  });
  // A renewed page has lost the mark.
  page.addEventListener("htmx:after:swap", () => {
    if (dialog) mark(page.querySelector(steps[at].at));
  });
})();

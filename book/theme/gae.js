// Small repairs of the theme, for keyboards and screen readers.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const wide = ["mjx-container[display]", ".gae-objective", ".gae-objective dd", ".bd-content pre",
    ".bd-content .cell_output > .output", ".pst-scrollable-table-container"].join();

  // Whatever scrolls sideways must be reachable by keyboard; nothing else becomes a stop of the Tab key.
  // All are measured before any is changed: in turns, each would lay out the page anew.
  const scrollers = () => [...document.querySelectorAll(wide)].map((e) => [e, e.scrollWidth > e.clientWidth + 1])
    .forEach(([e, long]) => long ? e.setAttribute("tabindex", "0") : e.removeAttribute("tabindex"));

  // Formulas from the top, a few at a time: one long task would hold up the reader's first touch.
  const config = window.MathJax?.config ?? window.MathJax;
  if (config) (config.startup ??= {}).pageReady = async () => {
    const left = [...document.querySelectorAll(".math, .output_area, .mathjax_process")];
    while (left.length) {
      await MathJax.typesetPromise(left.splice(0, 8));
      await new Promise((go) => setTimeout(go));
    }
  };

  addEventListener("DOMContentLoaded", () => {
    // A label that differs from the words on the button hides it from voice control.
    each(".search-button-field, details > summary", (e) => e.removeAttribute("aria-label"));
    // What stands in no landmark is skipped by those who go from one to the next.
    each(".bd-sidebar-primary", (e) => { e.setAttribute("role", "region"); e.setAttribute("aria-label", "The book"); });
    // A list of entries whose role is no list item.
    each(".citation-list, .citation-list > .citation", (e) => e.removeAttribute("role"));
  });
  // Formulas take their room late and push down what a link led to: go there again, unless the reader has moved on.
  let moved = false;
  for (const touch of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(touch, () => (moved = true), { passive: true });
  const arrive = () => moved || document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

  // What a link to an equation, a figure, an exercise, a word or a row leads to, shown beside it: for a mouse that
  // rests and for the keyboard. A page that is not this one is fetched once, from the same place.
  const leads = ["equation-", "fig-", "ex-", "term-", "ledger-"].map((kind) => `article a.reference[href*="#${kind}"]`).join();
  const pages = {}, card = document.createElement("div");
  card.className = "gae-preview";
  card.setAttribute("role", "tooltip");
  let waits, asked;
  const hide = () => { clearTimeout(waits); asked = null; card.remove(); };
  const show = async (link) => {
    const [page, name] = link.href.split("#"), here = page === location.href.split("#")[0];
    const from = here ? document : await (pages[page] ??= fetch(page).then((r) => r.text())
      .then((text) => new DOMParser().parseFromString(text, "text/html")).catch(() => null));
    const found = from?.getElementById(decodeURIComponent(name));
    if (!found || asked !== link) return;
    const copies = [found, ...(found.tagName === "DT" ? [found.nextElementSibling] : [])].map((e) => e.cloneNode(true));
    card.replaceChildren(...(found.tagName === "TR" ? [...copies[0].children].slice(0, 2).map((td) => {
      const cell = document.createElement("div"); cell.append(...td.childNodes); return cell; }) : copies));
    card.querySelectorAll("[id]:not(svg [id])").forEach((e) => e.removeAttribute("id"));
    card.querySelectorAll("a, button, input, label, script, .headerlink").forEach((e) => e.tagName === "A" && !e.matches(".headerlink") ?
      e.removeAttribute("href") : e.remove());
    card.querySelectorAll("img").forEach((e) => { e.loading = "eager"; e.src = new URL(e.getAttribute("src"), page); });
    document.querySelector("article").append(card);
    if (!here) await window.MathJax?.typesetPromise?.([card]);
    const at = link.getBoundingClientRect(), box = card.getBoundingClientRect(), room = document.documentElement.clientWidth;
    card.style.left = `${Math.max(8, Math.min(at.left, room - box.width - 8)) + scrollX}px`;
    card.style.top = `${(at.bottom + box.height + 12 < innerHeight ? at.bottom + 6 : Math.max(64, at.top - box.height - 6)) + scrollY}px`;
    card.style.visibility = "visible";
  };
  const ask = (link) => { hide(); card.style.visibility = "hidden"; asked = link; waits = setTimeout(show, 250, link); };
  if (matchMedia("(hover: hover)").matches) {
    addEventListener("pointerover", ({ target }) => {
      const link = target.closest?.(leads);
      if (link && link !== asked) ask(link);
      else if (!link && asked && !target.closest?.(".gae-preview")) waits = setTimeout(() => card.matches(":hover") || hide(), 250);
    });
    addEventListener("focusin", ({ target }) => target.matches(leads) ? target.matches(":focus-visible") && ask(target) : hide());
    addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  }

  // A link to a place on this page leads there and closes the drawer that it stood in.
  addEventListener("click", (event) => event.target.closest?.("dialog a[href^='#']")?.closest("dialog").close());

  // Paper is white, has no folds, and shows every picture.
  const paper = matchMedia("print"), root = document.documentElement;
  let before;
  const print = () => {
    if (before) return;
    before = [root.dataset.theme, [...document.querySelectorAll("details:is(.gae-source, .gae-seen):not([open])")]];
    root.dataset.theme = "light";
    before[1].forEach((e) => (e.open = true));
    each("img[loading=lazy]", (e) => (e.loading = "eager"));
  };
  const back = () => {
    if (!before) return;
    root.dataset.theme = before[0];
    before[1].forEach((e) => (e.open = false));
    before = null;
  };
  addEventListener("beforeprint", print);
  addEventListener("afterprint", back);
  paper.addEventListener("change", () => (paper.matches ? print() : back()));

  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(scrollers).then(arrive));
  addEventListener("resize", scrollers);
})();

// Small repairs of the theme, for keyboards and screen readers.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const wide = ["mjx-container[display]", ".gae-objective", ".gae-objective dd", ".bd-content pre",
    ".bd-content .cell_output > .output", ".pst-scrollable-table-container"].join();

  // Whatever scrolls sideways must be reachable by keyboard; nothing else becomes a stop of the Tab key.
  // All are measured before any is changed: in turns, each would lay out the page anew.
  const scrollers = () => [...document.querySelectorAll(wide)].map((e) => [e, e.scrollWidth > e.clientWidth + 1])
    .forEach(([e, long]) => long ? e.setAttribute("tabindex", "0") : e.removeAttribute("tabindex"));

  // Formulas. MathJax comes once the page is painted and sets what is near the screen, two at a time: one long task would
  // hold up the reader's first touch. When the reader has moved, what is below follows while nothing else is to do; what
  // is above waits until it is near, for it would push the text down. Paper gets all.
  const source = new URL("mathjax/startup.js", document.currentScript.src).href;
  const idle = window.requestIdleCallback ?? setTimeout, left = new Set(), wanted = new Set();
  let moved = false, mathjax, working, last = document.body;
  const arrived = () => mathjax ??= new Promise((done) => {
    MathJax.startup = { typeset: false, ready: () => { MathJax.startup.defaultReady(); MathJax.startup.promise.then(done); } };
    document.head.append(Object.assign(document.createElement("script"), { src: source }));
  });
  const follows = (e) => last.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING || !e.checkVisibility()
    || e.getBoundingClientRect().top > innerHeight;  // a line that begins within a screen and ends below it
  const next = () => [...(wanted.size ? wanted : left)].filter((e) => wanted.size || moved && follows(e)).slice(0, wanted.size ? 2 : 8);
  const take = (some) => some.forEach((e) => { near.unobserve(e); left.delete(e); wanted.delete(e) && (last = e); });
  const rest = () => {
    document.documentElement.dataset.formulas = left.size ? "near" : "set";  // for who waits for them
    working = null;
    scrollers();
    arrive();
  };
  const work = () => working ??= arrived().then(async () => {
    for (let some; (some = next()).length;) {
      take(some);
      await MathJax.typesetPromise(some);
      await new Promise((go) => wanted.size ? setTimeout(go) : idle(go, { timeout: 100 }));
    }
  }).then(rest);
  const near = new IntersectionObserver((seen) => {
    seen.forEach(({ isIntersecting, target }) => isIntersecting && [target, ...target.querySelectorAll(".math")].forEach(
      (e) => left.has(e) && wanted.add(e)));
    wanted.size && work();
  }, { rootMargin: "100% 0px" });
  addEventListener("load", () => requestAnimationFrame(() => setTimeout(() => {
    // A table's row stands for its formulas: unset they are long, and one that lies outside of the table's window is never near.
    if (window.MathJax) each(".math, .output_area, .mathjax_process", (e) => { left.add(e); near.observe(e.closest("tr") ?? e); });
    left.size ? idle(work) : rest();
  })));

  addEventListener("DOMContentLoaded", () => {
    // A label that differs from the words on the button hides it from voice control.
    each(".search-button-field, details > summary", (e) => e.removeAttribute("aria-label"));
    // What stands in no landmark is skipped by those who go from one to the next.
    each(".bd-sidebar-primary", (e) => { e.setAttribute("role", "region"); e.setAttribute("aria-label", "The book"); });
    // A list of entries whose role is no list item.
    each(".citation-list, .citation-list > .citation", (e) => e.removeAttribute("role"));
  });
  // Formulas take their room late and push down what a link led to: go there again, unless the reader has moved on.
  for (const touch of ["wheel", "touchmove", "pointerdown", "keydown"])
    addEventListener(touch, () => { if (!moved && left.size) work(); moved = true; }, { passive: true });
  addEventListener("hashchange", () => (moved = false));
  const arrive = () => moved || document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

  // A table that sorts: each head of a column becomes a button; a second press turns the order over. "-" comes last.
  const number = (row, at) => parseFloat(row.cells[at].textContent.replace("\u2212", "-"));
  const order = (head, at, body) => {
    const down = head.ariaSort === "ascending" ? -1 : 1, rows = [...body.rows];
    const numeric = rows.some((row) => !isNaN(number(row, at)));
    each("table.gae-sort [aria-sort]", (e) => e.removeAttribute("aria-sort"));
    head.ariaSort = down > 0 ? "ascending" : "descending";
    rows.sort((a, b) => numeric ? isNaN(number(a, at)) - isNaN(number(b, at)) || down * (number(a, at) - number(b, at)) :
      down * a.cells[at].textContent.localeCompare(b.cells[at].textContent));
    body.append(...rows);
  };
  addEventListener("DOMContentLoaded", () => each("table.gae-sort", (table) =>
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.onclick = () => order(head, at, table.tBodies[0]);
      for (const row of table.tBodies[0].rows) row.cells[at].dataset.head = head.textContent.trim();  // for a phone's cards
    })));

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
    const raw = [...card.querySelectorAll(".math:not(:has(mjx-container))")];
    if (raw.length && window.MathJax) await arrived().then(() => MathJax.typesetPromise(raw));
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
    if (left.size && MathJax.typeset) MathJax.typeset([...left].filter((e) => !take([e])));
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

  addEventListener("resize", scrollers);
})();
